package dhcpd_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// On a LAN with another DHCP server ours says nothing, until the other has gone.
func TestSilentBesideAnotherServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.client("rogue", "")
	other.Addr("eth0", "192.168.1.9/24")
	p := other.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--dhcp-range=192.168.1.210,192.168.1.220,2m")
	p.WaitOutput("DHCP, IP range")
	cfg := seedConfig()
	cfg.Force = false
	s.serve(cfg, dhcpd.Options{})
	labtest.Eventually(t, s.saw(dhcpd.EventRival))
	st := s.server.Status()
	if st.Serving || len(st.Rivals) != 1 || st.Rivals[0].ServerID != ip("192.168.1.9") || !strings.Contains(st.Reason, "192.168.1.9") {
		t.Errorf("status: %+v", st)
	}
	c := s.client("phone", "")
	out := c.Run("dhclient", "-v", "-1", "eth0")
	if !strings.Contains(out, "bound to 192.168.1.2") || strings.Contains(out, "from 192.168.1.1\n") {
		t.Errorf("both servers answered:\n%s", out)
	}
	if err := p.Stop(); err != nil {
		t.Logf("dnsmasq: %v", err)
	}
	s.waitServing() // asks again every half minute
	if st := s.server.Status(); len(st.Rivals) != 0 {
		t.Errorf("rivals that are gone: %+v", st.Rivals)
	}
}

// Another server that appears later is found as soon as a client takes its offer:
// every other answer of it may pass us by on a switch.
func TestFallsSilentWhenAClientTakesAnotherOffer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cfg := seedConfig()
	cfg.Force = false
	s.serve(cfg, dhcpd.Options{})
	s.waitServing()
	other := s.client("rogue", "")
	other.Addr("eth0", "192.168.1.9/24")
	p := other.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--dhcp-range=192.168.1.210,192.168.1.220,2m")
	p.WaitOutput("DHCP, IP range")
	c := s.client("relay", "")
	c.Addr("eth0", "192.168.1.2/24")
	newRelay(t, c, "192.168.1.2", "192.168.1.1").send(clientMAC(1), dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{192, 168, 1, 9})),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{192, 168, 1, 215})))
	labtest.Eventually(t, func() error {
		if s.server.Status().Serving {
			return fmt.Errorf("still serving")
		}
		return nil
	})
}

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
