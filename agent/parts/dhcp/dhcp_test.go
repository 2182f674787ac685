package dhcp

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
)

type servedStore struct{ dhcpd.Served }

func (s *servedStore) LoadServed(context.Context) (dhcpd.Served, error) { return s.Served, nil }
func (s *servedStore) StoreServed(_ context.Context, now dhcpd.Served) error {
	s.Served = now
	return nil
}

// Who takes the leases of this machine's former server over has served this LAN, and no other.
func TestNoteServed(t *testing.T) {
	c := dhcpd.Config{Interface: "lo", Subnet: netip.MustParsePrefix("192.168.1.0/24")}
	var s servedStore
	if err := noteServed(t.Context(), &s, c); err != nil {
		t.Fatal(err)
	}
	if s.Subnet != c.Subnet || s.Machine != machineID() || time.Since(s.Last) > time.Minute {
		t.Errorf("%+v", s.Served)
	}
	c.Interface = "eth9"
	if err := noteServed(t.Context(), &s, c); err == nil {
		t.Error("of a card that is not there")
	}
}
