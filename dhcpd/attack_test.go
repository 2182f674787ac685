package dhcpd_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// attackedSite is a LAN with 50 configured phones, and a pool of 60 of which a machine
// uses one without having asked.
func attackedSite(t *testing.T) (s *site, attacker, phones *stations) {
	t.Helper()
	s = newSite(t)
	cfg := seedConfig()
	cfg.RangeFirst, cfg.RangeLast = ip("192.168.1.100"), ip("192.168.1.159")
	cfg.Known = phoneMACs(50)
	s.client("static", "").Addr("eth0", "192.168.1.130/24")
	s.serve(cfg, dhcpd.Options{})
	return s, newStations(t, s.client("attacker", "")), newStations(t, s.client("phones", ""))
}

func (s *site) checkPhonesServed(phones *stations) {
	s.t.Helper()
	if got := phones.boot(phoneMACs(50)); got != 50 {
		s.t.Errorf("%d of 50 phones have an address", got)
	}
}

// An answer to an address that nobody has costs nothing: there is none, or it goes
// to the station that asked. The kernel asks nobody for these addresses.
func TestForgedAddressesDoNotBlockAnswers(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(attacker *stations, i int){
		"INFORM": func(a *stations, i int) {
			victim := netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + i%90)})
			a.send(clientMAC(i), clientMAC(i), netip.IPv4Unspecified(), dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(victim.AsSlice()))
		},
		"INFORM from the invented address": func(a *stations, i int) {
			victim := netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + i%90)})
			a.send(clientMAC(i), clientMAC(i), victim, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(victim.AsSlice()))
		},
		"DISCOVER by an invented relay": func(a *stations, i int) {
			relay := netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + i%90)})
			a.send(clientMAC(i), clientMAC(i), netip.IPv4Unspecified(), dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(relay.AsSlice()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, attacker, phones := attackedSite(t)
			for i := range 5000 {
				forge(attacker, i)
			}
			s.checkPhonesServed(phones)
			if neighbours := s.host.Run("ip", "-4", "neighbour", "show"); neighbours != "" {
				t.Errorf("the kernel was made to ask for addresses:\n%.300s", neighbours)
			}
		})
	}
}

// A relay that is not configured is shown, so that a site that relied on it learns why.
func TestStrayRelayIsReported(t *testing.T) {
	t.Parallel()
	s, attacker, _ := attackedSite(t)
	for i := range 100 { // they cannot fill more than a few lines
		attacker.send(clientMAC(i), clientMAC(i), netip.IPv4Unspecified(), dhcpv4.MessageTypeDiscover,
			dhcpv4.WithGatewayIP([]byte{192, 168, 2, byte(i)}))
	}
	labtest.Eventually(t, func() error {
		if strays := s.server.Status().Strays; len(strays) != 16 || strays[0].MAC[0] != 2 {
			return fmt.Errorf("stray relays: %v", strays)
		}
		return nil
	})
}

// REQUESTs (SELECTING) for every address of the pool, from invented clients that
// were offered none, take nothing.
func TestRequestsWithoutDiscoverTakeNothing(t *testing.T) {
	t.Parallel()
	s, attacker, phones := attackedSite(t)
	for i := range 500 {
		attacker.send(clientMAC(i), clientMAC(i), netip.IPv4Unspecified(), dhcpv4.MessageTypeRequest,
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress([]byte{192, 168, 1, byte(100 + i%60)})),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier([]byte{192, 168, 1, 1})))
		if _, m := attacker.answer(answerPatience); m == nil || m.MessageType() != dhcpv4.MessageTypeNak {
			t.Fatalf("answer %d: %v", i, m)
		}
	}
	s.checkPhonesServed(phones)
	for _, l := range s.server.Leases() {
		if l.State == dhcpd.StateBound && l.Addr == ip("192.168.1.130") {
			t.Errorf("the static host's address was given to %v", l.MAC)
		}
	}
}

// A station that says it is a phone, without sending from the phone's MAC, can take
// nothing from it.
func TestAnotherStationCannotGiveUpALease(t *testing.T) {
	t.Parallel()
	s, attacker, phones := attackedSite(t)
	phone := phoneMACs(1)[0]
	if phones.boot(phoneMACs(1)) != 1 {
		t.Fatal("no lease")
	}
	held, _ := s.lease(phone)
	evil, server := hw("02:00:00:00:ee:01"), dhcpv4.WithOption(dhcpv4.OptServerIdentifier([]byte{192, 168, 1, 1}))
	attacker.send(evil, phone, netip.IPv4Unspecified(), dhcpv4.MessageTypeDecline, server,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(held.Addr.AsSlice())))
	attacker.send(evil, phone, held.Addr, dhcpv4.MessageTypeRelease, server, dhcpv4.WithClientIP(held.Addr.AsSlice()))
	// Whoever asks for the address afterwards is answered after both were decided.
	attacker.send(evil, evil, netip.IPv4Unspecified(), dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(held.Addr.AsSlice())))
	if _, m := attacker.answer(answerPatience); m == nil || m.YourIPAddr.Equal(held.Addr.AsSlice()) {
		t.Errorf("the attacker was answered %v", m)
	}
	if l, ok := s.lease(phone); !ok || l.Addr != held.Addr {
		t.Errorf("the phone's lease: %t %+v", ok, l)
	}
}

// One station that floods is not answered without end, and takes nothing from others.
func TestOneStationCannotFlood(t *testing.T) {
	t.Parallel()
	s, attacker, phones := attackedSite(t)
	evil := hw("02:00:00:00:ee:01")
	for i := range 3000 {
		attacker.send(evil, clientMAC(i), netip.IPv4Unspecified(), dhcpv4.MessageTypeDiscover)
	}
	s.checkPhonesServed(phones)
	if st := s.server.Status(); st.PoolUsed < 50 {
		t.Errorf("%+v", st)
	}
}
