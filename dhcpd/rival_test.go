package dhcpd_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// careful is the usual configuration: others are searched for.
func careful() dhcpd.Config {
	cfg := seedConfig()
	cfg.Force = false
	return cfg
}

// rogue starts another DHCP server at 192.168.1.9.
func (s *site) rogue(more ...string) *labtest.Process {
	s.t.Helper()
	h := s.client("rogue", "")
	h.Addr("eth0", "192.168.1.9/24")
	p := h.Start("dnsmasq", append([]string{
		"--keep-in-foreground", "--port=0", "--log-facility=-", "--dhcp-range=192.168.1.210,192.168.1.220,2m", "--no-ping",
	}, more...)...)
	p.WaitOutput("DHCP, IP range")
	return p
}

// phones returns a relay agent that speaks for phones.
func (s *site) phones() *relay {
	s.t.Helper()
	h := s.client("relay", "")
	h.Addr("eth0", "192.168.1.2/24")
	return newRelay(s.t, h, "192.168.1.2", "192.168.1.1")
}

// search has the server search and returns who answers.
func (s *site) search() []dhcpd.Rival {
	s.t.Helper()
	rivals, err := s.server.Search(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return rivals
}

func (s *site) mustServe(when string) {
	s.t.Helper()
	if st := s.server.Status(); !st.Serving {
		s.t.Errorf("%s: not serving: %s", when, st.Reason)
	}
}

// A server that starts where another one answers is silent, until that one has gone.
func TestNewcomerIsSilentUntilTheOtherHasGone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.rogue()
	s.serve(careful(), dhcpd.Options{})
	labtest.Eventually(t, s.saw(dhcpd.EventRival))
	st := s.server.Status()
	if st.Serving || len(st.Rivals) != 1 || st.Rivals[0].ServerID != ip("192.168.1.9") || !strings.Contains(st.Reason, "192.168.1.9") {
		t.Errorf("status: %+v", st)
	}
	out := s.client("phone", "").Run("dhclient", "-v", "-1", "eth0")
	if !strings.Contains(out, "bound to 192.168.1.2") || strings.Contains(out, "from 192.168.1.1\n") {
		t.Errorf("both servers answered:\n%s", out)
	}
	if err := p.Stop(); err != nil {
		t.Logf("dnsmasq: %v", err)
	}
	gone := time.Now()
	s.waitServing()
	t.Logf("served %v after the other had gone", time.Since(gone).Round(time.Second/10))
	if st := s.server.Status(); len(st.Rivals) != 0 {
		t.Errorf("rivals that are gone: %+v", st.Rivals)
	}
}

// A server that has served goes on when another one appears, after a restart too,
// and says who it is until it has gone.
func TestWhoWasFirstGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	this := dhcpd.Options{Machine: "one"}
	s.serve(careful(), this)
	s.waitServing()
	phones := s.phones()
	if got := phones.boot(0, 5, 5); got != 5 {
		t.Fatalf("%d of 5 phones have an address", got)
	}
	p := s.rogue()
	if r := s.search(); len(r) != 1 || r[0].ServerID != ip("192.168.1.9") || r[0].MAC.String() == "" {
		t.Errorf("rivals: %v", r)
	}
	s.mustServe("beside the rogue")
	labtest.Eventually(t, s.saw(dhcpd.EventRival))
	for addr, owner := range phones.given {
		if err := phones.confirm(addr, hw(owner)); err != nil {
			t.Errorf("a phone of before: %v", err)
		}
	}
	if got := phones.boot(10, 5, 5); got != 5 {
		t.Errorf("%d of 5 new phones have an address", got)
	}

	labtest.Eventually(t, func() error { // it is remembered within a second
		got, err := s.store.(dhcpd.ServedStore).LoadServed(t.Context())
		if err == nil && got.Machine != "one" {
			err = errors.New("nothing is remembered")
		}
		return err
	})
	s.stop()
	s.serve(careful(), this)
	s.waitServing()
	if r := s.search(); len(r) != 1 {
		t.Errorf("rivals after the restart: %v", r)
	}
	s.mustServe("after the restart")

	_ = p.Stop()
	if r := s.search(); len(r) != 0 {
		t.Errorf("rivals that are gone: %v", r)
	}
}

// What another machine remembers, or an old backup, gives no precedence.
func TestCloneIsANewcomer(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]dhcpd.Options{
		"another machine": {Machine: "two"},
		"a day later":     {Machine: "one", Wall: func() time.Time { return time.Now().Add(24 * time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.serve(careful(), dhcpd.Options{Machine: "one"})
			s.waitServing()
			if got := s.phones().boot(0, 1, 1); got != 1 {
				t.Fatal("the phone has no address")
			}
			labtest.Eventually(t, func() error {
				got, err := s.store.(dhcpd.ServedStore).LoadServed(t.Context())
				if err == nil && got.Machine == "" {
					err = errors.New("nothing is remembered")
				}
				return err
			})
			s.stop()
			s.rogue()
			s.serve(careful(), opts)
			labtest.Eventually(t, s.saw(dhcpd.EventRival))
			if st := s.server.Status(); st.Serving {
				t.Error("serves beside the one that was there")
			}
		})
	}
}

// Of two appliances that are switched on together one serves, the other says why
// not; it serves when the first one has gone.
func TestTwoNewcomers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.SetMAC("ens34", "02:00:00:00:00:01")
	other := &site{t: t, lab: s.lab, lan: s.lan, host: s.lab.Host("server2")}
	s.lan.Plug(other.host, "ens34")
	other.host.SetMAC("ens34", "02:00:00:00:00:02")
	other.host.Addr("ens34", "192.168.1.3/24")
	other.host.Up("ens34")
	cfg := careful()
	cfg.ServerID = ip("192.168.1.3")
	other.serve(cfg, dhcpd.Options{})
	s.serve(careful(), dhcpd.Options{})
	both := errors.New("both serve")
	labtest.Eventually(t, func() error {
		a, b := s.server.Status(), other.server.Status()
		if a.Serving && b.Serving {
			t.Error(both)
		}
		if !a.Serving || len(b.Rivals) != 1 {
			return fmt.Errorf("%v %q, %v %q", a.Serving, a.Reason, b.Serving, b.Reason)
		}
		return nil
	})
	if st := other.server.Status(); st.Serving || !strings.Contains(st.Reason, "192.168.1.1") {
		t.Errorf("the other: %+v", st)
	}
	for _, l := range append(s.server.Leases(), other.server.Leases()...) {
		t.Errorf("a search took an address: %+v", l)
	}
	s.stop()
	other.waitServing()
}

// A machine that was cloned with its address and its leases finds the original.
func TestCopyWithTheSameAddressIsSilent(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	other := &site{t: t, lab: s.lab, lan: s.lan, host: s.lab.Host("clone")}
	s.lan.Plug(other.host, "ens34")
	other.host.Addr("ens34", "192.168.1.1/24")
	other.host.Up("ens34")
	other.serve(careful(), dhcpd.Options{Machine: "two"})
	labtest.Eventually(t, other.saw(dhcpd.EventRival))
	if st := other.server.Status(); st.Serving {
		t.Error("both serve")
	}
}

// A fake DHCP server answers what it likes.
func (s *site) fake(addr string, answer func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4) *net.UDPConn {
	s.t.Helper()
	h := s.client("fake", "")
	h.Addr("eth0", addr+"/24")
	h.Route("default", "dev", "eth0") // for 255.255.255.255
	var conn *net.UDPConn
	h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 67})
		return err
	})
	s.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m, err := dhcpv4.FromBytes(buf[:n])
			if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || answer == nil {
				continue
			}
			if a := answer(m); a != nil {
				_, _ = conn.WriteToUDP(a.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
			}
		}
	}()
	return conn
}

func reply(t *testing.T, m *dhcpv4.DHCPv4, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r, err := dhcpv4.NewReplyFromRequest(m, mods...)
	if err != nil {
		t.Error(err)
		return nil
	}
	return r
}

func serverID(s string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(s)))
}

// Frames that look like another server's and are none cost nobody an address.
func TestWhatIsNoRival(t *testing.T) {
	t.Parallel()
	stranger := func(t *testing.T, mods ...dhcpv4.Modifier) []byte {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{
			dhcpv4.WithHwAddr(hw("02:aa:00:00:00:31")), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithBroadcast(true),
			dhcpv4.WithYourIP(net.IP{192, 168, 1, 99}),
		}, mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		m.OpCode = dhcpv4.OpcodeBootReply
		return m.ToBytes()
	}
	for name, c := range map[string]struct {
		answer func(*testing.T, *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 // to a search
		send   func(*testing.T) []byte
	}{
		"our own answer, forwarded by a relay": {send: func(t *testing.T) []byte {
			return stranger(t, serverID("192.168.1.1"), dhcpv4.WithGatewayIP(net.IP{192, 168, 1, 254}))
		}},
		"forged offers": {send: func(t *testing.T) []byte { return stranger(t, serverID("192.168.1.9")) }},
		"a forged ACK to an INFORM": {send: func(t *testing.T) []byte {
			return stranger(t, serverID("192.168.1.9"), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4zero))
		}},
		"a proxyDHCP server": {answer: func(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			return reply(t, m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), serverID("192.168.1.9"), dhcpv4.WithYourIP(net.IPv4zero))
		}},
		"a failover partner": {answer: func(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			return reply(t, m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), serverID("192.168.1.7"), dhcpv4.WithYourIP(net.IP{192, 168, 1, 230}))
		}},
		"an answer to another's question": {answer: func(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			m.TransactionID[0]++
			return reply(t, m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), serverID("192.168.1.9"), dhcpv4.WithYourIP(net.IP{192, 168, 1, 230}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var answer func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4
			if c.answer != nil {
				answer = func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return c.answer(t, m) }
			}
			conn := s.fake("192.168.1.9", answer)
			cfg := careful()
			cfg.Peers = []netip.Addr{ip("192.168.1.7")}
			s.serve(cfg, dhcpd.Options{})
			s.waitServing()
			for range 2 {
				if c.send == nil {
					break
				}
				if _, err := conn.WriteToUDP(c.send(t), &net.UDPAddr{IP: net.IPv4bcast, Port: 68}); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.phones().boot(0, 3, 3); got != 3 {
				t.Errorf("%d of 3 phones have an address", got)
			}
			if r := s.search(); len(r) != 0 {
				t.Errorf("rivals: %v", r)
			}
			s.mustServe("in the end")
			if s.saw(dhcpd.EventRival)() == nil {
				t.Error("a rival was told of")
			}
		})
	}
}

// A server that answers the phones' kind only is found by the question in disguise.
func TestServerForPhonesOnlyIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.rogue("--dhcp-mac=set:phone,00:15:65:*:*:*", "--dhcp-ignore=tag:!phone")
	cfg := careful()
	cfg.Disguise = &dhcpd.Disguise{OUI: [3]byte{0x00, 0x15, 0x65}, Class: "yealink"}
	s.serve(cfg, dhcpd.Options{})
	labtest.Eventually(t, s.saw(dhcpd.EventRival))
	if st := s.server.Status(); st.Serving || len(st.Rivals) != 1 {
		t.Errorf("status: %+v", st)
	}
	var found []dhcpd.Rival
	s.stop() // one that does not run is searched for by whoever asks
	s.host.Do(func() (err error) {
		found, err = dhcpd.Search(t.Context(), cfg)
		return err
	})
	if len(found) != 1 || found[0].ServerID != ip("192.168.1.9") {
		t.Errorf("found: %v", found)
	}
}

// A server that clients choose is searched for at once. One that does not answer us
// is only a warning.
func TestForeignServerThatClientsChoose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve(careful(), dhcpd.Options{})
	s.waitServing()
	phones := s.phones()
	if got := phones.boot(0, 1, 1); got != 1 {
		t.Fatal("no address")
	}
	choose := func(server string) {
		phones.send(clientMAC(1), dhcpv4.MessageTypeRequest, serverID(server),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{192, 168, 1, 215})))
	}
	choose("192.168.1.77")
	labtest.Eventually(t, func() error {
		st := s.server.Status()
		if len(st.Foreign) != 1 || st.Foreign[0].ServerID != ip("192.168.1.77") || len(st.Rivals) != 0 {
			return fmt.Errorf("foreign %v, rivals %v", st.Foreign, st.Rivals)
		}
		return nil
	})
	s.mustServe("beside it")
}

// A newcomer that serves falls silent when a client takes the offer of a real server.
func TestNewcomerFindsTheServerThatAClientChose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve(careful(), dhcpd.Options{})
	s.waitServing()
	s.rogue()
	s.phones().send(clientMAC(1), dhcpv4.MessageTypeRequest, serverID("192.168.1.9"),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IP{192, 168, 1, 215})))
	labtest.Eventually(t, func() error {
		if s.server.Status().Serving {
			return errors.New("still serving")
		}
		return nil
	})
}

// Of two that have both served this LAN neither falls silent, each shows the other,
// and no address is offered that the other has given out.
func TestTwoThatBothServed(t *testing.T) {
	t.Parallel()
	a := newSite(t)
	b := &site{t: t, lab: a.lab, lan: a.lan, host: a.lab.Host("server2")}
	a.lan.Plug(b.host, "ens34")
	b.host.Addr("ens34", "192.168.1.3/24")
	b.host.Up("ens34")
	relays := []dhcpd.Relay{{Addr: ip("192.168.1.91")}, {Addr: ip("192.168.1.93")}}
	cfgA := careful()
	cfgA.RangeLast = ip("192.168.1.130") // so few that each has looked for all of them ahead, when nobody had them
	cfgB := cfgA
	cfgB.ServerID = ip("192.168.1.3")
	cfgA.Relays, cfgB.Relays = relays, relays
	a.served("one")
	b.served("two")
	a.serve(cfgA, dhcpd.Options{Machine: "one"})
	b.serve(cfgB, dhcpd.Options{Machine: "two"})
	for _, s := range []*site{a, b} {
		s.waitServing()
		if r := s.search(); len(r) != 1 {
			t.Errorf("rivals: %v", r)
		}
		s.mustServe("beside the other")
	}
	agents := make([]*relay, 2)
	for i, server := range []string{"192.168.1.1", "192.168.1.3"} {
		h := a.client(fmt.Sprint("relay", i), "")
		h.Addr("eth0", relays[i].Addr.String()+"/24")
		agents[i] = newRelay(t, h, relays[i].Addr.String(), server)
	}
	for i, agent := range agents { // each gives an address out, and the other hears nothing of it
		if agent.boot(i, 1, 1) != 1 {
			t.Fatal("no lease")
		}
		for addr := range agent.given {
			a.client(fmt.Sprint("phone", i), clientMAC(i).String()).Addr("eth0", addr.String()+"/24")
			got := agents[1-i].ask(clientMAC(7+i), dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice())))
			if got == nil || got.YourIPAddr.Equal(addr.AsSlice()) {
				t.Errorf("the address that a client of the other has is offered: %v", got)
			}
		}
	}
}

// served has the store remember that this LAN was just served.
func (s *site) served(machine string) {
	s.t.Helper()
	db, err := leasedb.Open(s.t.Context(), filepath.Join(s.t.TempDir(), "leases.db"), leasedb.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	err = db.StoreServed(s.t.Context(), dhcpd.Served{
		Machine: machine, Card: s.host.MAC("ens34"), Subnet: netip.MustParsePrefix("192.168.1.0/24"), Last: time.Now(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.store = db
}
