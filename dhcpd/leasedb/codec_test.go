package leasedb

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// anyLease draws a lease whose fields take every shape that a server may store.
func anyLease(r *rand.Rand) dhcpd.Lease {
	text := func(n int) []byte {
		b := make([]byte, r.IntN(n+1))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if len(b) == 0 {
			return nil
		}
		return b
	}
	moment := func() time.Time {
		if r.IntN(4) == 0 {
			return time.Time{}
		}
		return time.Unix(r.Int64N(1<<33)-1<<31, r.Int64N(1e9)).UTC()
	}
	states := []dhcpd.State{dhcpd.StateBound, dhcpd.StateReleased, dhcpd.StateExpired, dhcpd.StateDeclined}
	return dhcpd.Lease{
		Addr:        netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}),
		MAC:         text(16),
		ClientID:    text(255),
		Hostname:    string(text(255)),
		VendorClass: string(text(255)),
		State:       states[r.IntN(len(states))],
		Start:       moment(),
		Expires:     moment(),
	}
}

func TestLeaseRoundTrip(t *testing.T) {
	r := newRand(1)
	for range 1000 {
		want := anyLease(r)
		key, value, err := encodeLease(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeLease(key, value)
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Fatalf("lease (-want +got):\n%s", diff)
		}
	}
}

func TestStateRoundTrip(t *testing.T) {
	for _, want := range []state{{}, {count: 1, sum: 1 << 60, recoverUntil: epoch}, {count: 1 << 40, sum: ^uint64(0)}} {
		got, err := decodeState(want.encode())
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// Every single-bit error, and every cut, is noticed.
func TestDamagedValue(t *testing.T) {
	l := lease(7, 1)
	key, value, err := encodeLease(&l)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(value) * 8 {
		bad := bytes.Clone(value)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeLease(key, bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("bit %d of the value flipped: %v", bit, err)
		}
	}
	for bit := range len(key) * 8 {
		bad := bytes.Clone(key)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeLease(bad, value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("bit %d of the key flipped: %v", bit, err)
		}
	}
	for n := range value {
		if _, err := decodeLease(key, value[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("value cut to %d bytes: %v", n, err)
		}
	}
}

// A value that is sound but newer is not damaged.
func TestNewerValue(t *testing.T) {
	l := lease(7, 1)
	key, value, err := encodeLease(&l)
	if err != nil {
		t.Fatal(err)
	}
	value[sumSize]++
	seal(key, value)
	if _, err := decodeLease(key, value); !errors.Is(err, ErrNewer) {
		t.Errorf("lease: %v", err)
	}
	own := state{count: 3}.encode()
	own[sumSize]++
	seal([]byte(stateKey), own)
	if _, err := decodeState(own); !errors.Is(err, ErrNewer) {
		t.Errorf("state: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string]func(*dhcpd.Lease){
		"offered":            func(l *dhcpd.Lease) { l.State = dhcpd.StateOffered },
		"no address":         func(l *dhcpd.Lease) { l.Addr = netip.Addr{} },
		"IPv6":               func(l *dhcpd.Lease) { l.Addr = netip.MustParseAddr("fe80::1") },
		"start out of range": func(l *dhcpd.Lease) { l.Start = time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC) },
		"end out of range":   func(l *dhcpd.Lease) { l.Expires = time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC) },
	}
	for name, spoil := range tests {
		l := lease(1, 1)
		spoil(&l)
		if _, _, err := encodeLease(&l); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode feeds values with a right checksum, so that what follows is reached:
// nothing panics, and what decodes is encoded to something that decodes the same.
func FuzzDecode(f *testing.F) {
	for i := range 3 {
		l := lease(i, i)
		_, value, err := encodeLease(&l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte{10, 0, 0, byte(i)}, value[sumSize:])
	}
	f.Add([]byte(stateKey), state{count: 9, sum: 9, recoverUntil: epoch}.encode()[sumSize:])
	f.Fuzz(func(t *testing.T, key, fields []byte) {
		value := append(make([]byte, sumSize), fields...)
		seal(key, value)
		if s, err := decodeState(value); err == nil && bytes.Equal(key, []byte(stateKey)) {
			if again, err := decodeState(s.encode()); err != nil || again != s {
				t.Fatalf("state %+v became %+v, %v", s, again, err)
			}
		}
		l, err := decodeLease(key, value)
		if err != nil {
			return
		}
		key2, value2, err := encodeLease(&l)
		if errors.Is(err, errRefused) || value2 == nil {
			return // a state that is never stored
		}
		again, err := decodeLease(key2, value2)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, again, compareAddrs); diff != "" {
			t.Fatalf("lease changed:\n%s", diff)
		}
	})
}
