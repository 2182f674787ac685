package phones

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// invented is the n-th of the Yealink MACs that somebody makes up.
func invented(n int) net.HardwareAddr {
	return append(net.HardwareAddr{0, 0x15}, binary.BigEndian.AppendUint32(nil, 0x65000000|uint32(n))...)
}

// A frame with an invented MAC looks at one name, however many phones are named and kept.
func TestStrangersCostConstantWork(t *testing.T) {
	const storm = 3 * maxUnknown
	for _, named := range []int{0, 500} {
		looked := 0
		r := newRoster(func(mac net.HardwareAddr) bool { looked++; return mac[1] == 0xff })
		for i := range named {
			r.add(net.HardwareAddr{0, 0xff, 0, 0, byte(i >> 8), byte(i)})
		}
		looked = 0
		for i := range storm {
			r.heard(r.add(invented(i)), time.Unix(int64(i), 0))
		}
		if looked != storm {
			t.Errorf("with %d named phones: %d names looked at for %d frames", named, looked, storm)
		}
		if len(r.byKey) != named+maxUnknown || r.unknown.Len() != maxUnknown {
			t.Errorf("with %d named phones: %d are kept, %d of them unknown", named, len(r.byKey), r.unknown.Len())
		}
		for _, n := range []int{storm - 1, storm - maxUnknown} {
			if r.get(invented(n)) == nil {
				t.Errorf("number %d is forgotten, which was among the last %d", n, maxUnknown)
			}
		}
	}
}

// Who is heard of again is not the one that makes room.
func TestRosterForgetsTheSilent(t *testing.T) {
	r := newRoster(func(net.HardwareAddr) bool { return false })
	for i := range maxUnknown {
		r.heard(r.add(invented(i)), time.Unix(int64(i), 0))
	}
	r.heard(r.get(invented(0)), time.Unix(maxUnknown, 0))
	r.add(invented(maxUnknown))
	if r.get(invented(0)) == nil || r.get(invented(1)) != nil {
		t.Error("the one that was silent longest is kept, or another one is forgotten")
	}
}

// A phone that is named leaves the unknown ones, and one whose name is taken away is one of them again.
func TestRosterReclassifies(t *testing.T) {
	names := make(map[string]bool)
	r := newRoster(func(mac net.HardwareAddr) bool { return names[key(mac)] })
	for i := range maxUnknown {
		r.heard(r.add(invented(i)), time.Unix(int64(i), 0))
	}
	names[key(invented(0))] = true
	r.reclassify()
	r.add(invented(maxUnknown))
	if r.unknown.Len() != maxUnknown || r.get(invented(0)) == nil || r.get(invented(1)) == nil {
		t.Errorf("%d unknown; named: %v", r.unknown.Len(), r.get(invented(0)))
	}
	clear(names)
	r.reclassify()
	if r.unknown.Len() != maxUnknown || len(r.byKey) != maxUnknown {
		t.Errorf("%d unknown of %d", r.unknown.Len(), len(r.byKey))
	}
}

// The time per frame of a storm of strangers, by how many phones are named: it should be the same.
func BenchmarkStrangers(b *testing.B) {
	for _, named := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprintf("named=%d", named), func(b *testing.B) {
			cfg := Config{Site: yealink.Site{Server: netip.MustParseAddr("192.168.1.1")}, Unknown: Approve}
			for i := range named {
				cfg.Phones = append(cfg.Phones, Phone{MAC: net.HardwareAddr{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}})
			}
			s, err := New(b.Context(), cfg, Deps{
				LeasedTo: func(netip.Addr) (net.HardwareAddr, bool) { return nil, false },
				Store:    FileStore{Path: filepath.Join(b.TempDir(), "phones.json")}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			if err != nil {
				b.Fatal(err)
			}
			for _, p := range cfg.Phones {
				s.Seen(Sighting{MAC: p.MAC})
			}
			n := 0
			for b.Loop() {
				s.Seen(Sighting{MAC: invented(n % (1 << 24))})
				n++
			}
		})
	}
}
