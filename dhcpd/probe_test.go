package dhcpd_test

import (
	"strings"
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
	labtest.Eventually(t, s.saw(dhcpd.EventInUse))
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

// The day of a takeover: clients of the server that was here before keep their
// addresses when they renew, and no conflict is told of.
func TestClientsOfTheFormerServerKeepTheirAddresses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	former := s.host.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-",
		"--interface=ens34", "--dhcp-range=192.168.1.150,192.168.1.150,12h", "--no-ping", "--dhcp-leasefile=/run/dnsmasq.leases")
	former.WaitOutput("DHCP, IP range")
	phone := s.client("phone", "00:15:65:00:01:01")
	if out := phone.Run("dhclient", "-v", "-1", "-lf", "/var/lib/dhclient.leases", "-pf", "/run/dhclient.pid", "eth0"); !strings.Contains(out, "bound to 192.168.1.150") {
		t.Fatalf("the former server: %s", out)
	}
	phone.Run("sh", "-c", "kill $(cat /run/dhclient.pid)") // it keeps the address
	if err := former.Stop(); err != nil {
		t.Logf("dnsmasq: %v", err)
	}
	s.serve(seedConfig(), dhcpd.Options{})
	labtest.Eventually(t, s.saw(dhcpd.EventInUse))
	out := phone.Run("dhclient", "-v", "-1", "-lf", "/var/lib/dhclient.leases", "-pf", "/run/dhclient.pid", "eth0")
	if !strings.Contains(out, "bound to 192.168.1.150") || strings.Contains(out, "DHCPNAK") {
		t.Errorf("renewal:\n%s", out)
	}
	if l, ok := s.lease(hw("00:15:65:00:01:01")); !ok || l.Addr != ip("192.168.1.150") {
		t.Errorf("lease: %+v", l)
	}
	if s.saw(dhcpd.EventConflict)() == nil {
		t.Error("a client's own address was told of as a conflict")
	}
}
