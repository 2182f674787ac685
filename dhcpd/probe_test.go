package dhcpd_test

import (
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// An address that a machine uses without having asked is not offered to anybody.
func TestAddressInUseIsNotOffered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cfg := seedConfig()
	cfg.RangeFirst, cfg.RangeLast = ip("192.168.1.100"), ip("192.168.1.107")
	squatter := s.client("squatter", "")
	squatter.Addr("eth0", "192.168.1.103/24")
	s.serve(cfg, dhcpd.Options{})
	c := s.client("relay", "")
	c.Addr("eth0", "192.168.1.2/24")
	r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
	if got := r.boot(0, 7, 7); got != 7 {
		t.Errorf("%d of 7 clients have an address", got)
	}
	if who := r.given[ip("192.168.1.103")]; who != "" {
		t.Errorf("the address in use was given to %s", who)
	}
	labtest.Eventually(t, s.saw(dhcpd.EventConflict))
}

// After the leases were lost no address is used twice: who has one keeps it, and
// nobody else gets it.
func TestRecoveryAfterLostLeases(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cfg := seedConfig()
	cfg.RangeFirst, cfg.RangeLast = ip("192.168.1.100"), ip("192.168.1.107")
	old := s.client("old", "")
	old.Addr("eth0", "192.168.1.104/24")
	s.serve(cfg, dhcpd.Options{RecoverUntil: time.Now().Add(time.Hour)})
	c := s.client("relay", "")
	c.Addr("eth0", "192.168.1.2/24")
	r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
	if got := r.boot(0, 7, 7); got != 7 {
		t.Errorf("%d of 7 newcomers have an address", got)
	}
	if err := r.confirm(ip("192.168.1.104"), old.MAC("eth0")); err != nil {
		t.Errorf("the client that has it: %v", err)
	}
}
