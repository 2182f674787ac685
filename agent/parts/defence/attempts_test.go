package defence

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

// A machine of the LAN that fails is told of once, and again after a while; that
// there are very many of them fills no memory.
func TestComplaints(t *testing.T) {
	d, now := New(parttest.New(t, parttest.Config(t)), Deps{}), time.Now()
	phone := netip.MustParseAddr("192.168.1.20")
	wrong := pbx.SecurityEvent{Kind: pbx.WrongSecret, Account: "100"}
	for i, c := range []struct {
		after    time.Duration
		attempts int
		first    bool
	}{{0, 1, true}, {time.Second, 2, false}, {complaintTTL, 3, false}, {3 * complaintTTL, 1, true}} {
		if attempts, first := d.count(phone, wrong, now.Add(c.after)); attempts != c.attempts || first != c.first {
			t.Errorf("step %d: %d, %v", i, attempts, first)
		}
	}
	for i := range uint32(2 * maxComplaints) {
		d.count(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+i))), wrong, now.Add(3*complaintTTL))
	}
	if len(d.complaints) > maxComplaints {
		t.Errorf("%d complaints", len(d.complaints))
	}
	if attempts, _ := d.count(phone, wrong, now.Add(3*complaintTTL)); attempts != 2 {
		t.Errorf("the phone was forgotten: %d", attempts)
	}
}
