package dhcpd_test

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// A voice VLAN behind a router with dnsmasq as its relay: phones there get addresses of
// their own network with the router as gateway, renew across it, and give back.
func TestNetworkBehindARelay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cfg := seedConfig()
	cfg.Relays = []dhcpd.Relay{{
		Addr: ip("10.20.0.1"), Subnet: netip.MustParsePrefix("10.20.0.0/24"), RangeFirst: ip("10.20.0.100"), RangeLast: ip("10.20.0.200"),
	}}
	cfg.Reservations = []dhcpd.Reservation{{MAC: hw("00:15:65:aa:bb:02"), Addr: ip("10.20.0.50")}}
	router := s.client("router", "")
	router.Addr("eth0", "192.168.1.2/24")
	voice := s.lab.Switch("voice")
	voice.Plug(router, "eth1")
	router.Addr("eth1", "10.20.0.1/24")
	router.Up("eth1")
	router.Sysctl("net.ipv4.ip_forward", "1")
	router.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--dhcp-relay=10.20.0.1,192.168.1.1").WaitOutput("DHCP relay from")
	s.serve(cfg, dhcpd.Options{})

	phone := s.lab.Host("phone")
	voice.Plug(phone, "eth0")
	for mac, want := range map[string]string{"00:15:65:aa:bb:01": `10\.20\.0\.(1\d\d|200)`, "00:15:65:aa:bb:02": `10\.20\.0\.50`} {
		phone.Down("eth0")
		phone.SetMAC("eth0", mac)
		phone.Up("eth0")
		lease := "/var/lib/" + strings.ReplaceAll(mac, ":", "") + ".leases"
		out := phone.Run("dhclient", "-v", "-1", "-sf", "/bin/true", "-lf", lease, "eth0")
		if !regexp.MustCompile("bound to " + want).MatchString(out) {
			t.Errorf("%s: not bound to %s:\n%s", mac, want, out)
		}
		if text := phone.Run("cat", lease); !strings.Contains(text, "option routers 10.20.0.1;") {
			t.Errorf("the router is not the gateway:\n%s", text)
		}
		phone.Run("pkill", "-F", "/run/dhclient.pid")
	}
	s.checkRoutedRenewal(phone)
}

// checkRoutedRenewal renews and releases as a client with an address does: to the
// server itself, through the router.
func (s *site) checkRoutedRenewal(phone *labtest.Host) {
	s.t.Helper()
	l, ok := s.lease(hw("00:15:65:aa:bb:02"))
	if !ok {
		s.t.Fatal("no lease")
	}
	phone.Addr("eth0", l.Addr.String()+"/24")
	phone.Route("default", "via", "10.20.0.1")
	var conn *net.UDPConn
	phone.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: l.Addr.AsSlice(), Port: 68}, &net.UDPAddr{IP: net.IP{192, 168, 1, 1}, Port: 67})
		return err
	})
	defer conn.Close()
	send := func(mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{
			dhcpv4.WithHwAddr(l.MAC), dhcpv4.WithMessageType(mt), dhcpv4.WithClientIP(l.Addr.AsSlice()),
		}, mods...)...)
		if err == nil {
			_, err = conn.Write(m.ToBytes())
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	send(dhcpv4.MessageTypeRequest)
	buf := make([]byte, 1500)
	_ = conn.SetReadDeadline(time.Now().Add(answerPatience))
	n, err := conn.Read(buf)
	if err != nil {
		s.t.Fatalf("no answer to a renewal across the router: %v", err)
	}
	if m, err := dhcpv4.FromBytes(buf[:n]); err != nil || m.MessageType() != dhcpv4.MessageTypeAck || !m.YourIPAddr.Equal(l.Addr.AsSlice()) {
		s.t.Errorf("the answer to a renewal: %v, %v", m, err)
	}
	send(dhcpv4.MessageTypeRelease, dhcpv4.WithOption(dhcpv4.OptServerIdentifier([]byte{192, 168, 1, 1})))
	labtest.Eventually(s.t, func() error {
		if l, ok := s.lease(hw("00:15:65:aa:bb:02")); ok {
			return fmt.Errorf("still leased: %+v", l)
		}
		return nil
	})
}
