package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// ssh is a packet from a sender to a port that is open to everybody.
func (s *site) ssh(source string) probe {
	to := wanAddr
	if addr(source).Is6() {
		to = wanAddr6
	}
	return probe{from: s.internet, source: source, to: to, protocol: "tcp", port: 22}
}

// reaches reports whether a sender reaches the appliance.
func (s *site) reaches(source string, expect bool) {
	s.t.Helper()
	marker := s.ssh(netAddr)
	if addr(source).Is6() {
		marker = s.ssh(netAddr6)
	}
	if got := passes(s.t, s.ssh(source), expect, marker); got != expect {
		s.t.Errorf("%s reaches the appliance: %v, want %v", source, got, expect)
	}
}

func (s *site) expectBanned(want ...string) {
	s.t.Helper()
	if got := s.banned(); !slices.Equal(got, want) {
		s.t.Errorf("banned: %v, want %v", got, want)
	}
}

// remaining is how long a ban still lasts, as the kernel has it.
func (s *site) remaining(set, who string) time.Duration {
	s.t.Helper()
	data := s.appliance.Run("nft", "--json", "list", "set", "inet", TableName, set)
	list, err := parseMembers([]byte(data))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range list {
		if m.addr == addr(who) {
			return m.expires
		}
	}
	s.t.Fatalf("%s is not in %s: %s", who, set, data)
	return 0
}

// A ban lives through everything but its end: a new configuration, the agent's
// restart, the loss of the table, and the machine's restart, each time with what
// is left of it.
func TestBanLivesOn(t *testing.T) {
	s := newSite(t)
	c := labConfig()
	s.start(c)
	s.reaches(attackerAddr, true)
	s.reaches(attackerAddr6, true)
	for _, a := range []string{attackerAddr, attackerAddr6} {
		s.must(order{Op: "ban", Ban: Ban{Addr: addr(a), Jail: "sshd", Reason: "wrong passwords", Attempts: 5, Duration: 2 * time.Hour}})
	}
	six := sender(addr(attackerAddr6)).String()
	s.expectBanned(attackerAddr, six)
	until := s.must(order{Op: "bans"}).Bans[0].Until
	holds := func(when string) {
		t.Helper()
		s.reaches(attackerAddr, false)
		left := time.Until(until)
		for set, who := range map[string]string{"ban4": attackerAddr, "ban6": six} {
			if got := s.remaining(set, who); got < left-time.Minute || got > left+2*time.Second {
				t.Errorf("%s: %v of the ban are left, want %v", when, got, left)
			}
		}
	}
	holds("at first")

	c.Services = append(c.Services, Service{Name: "more", Protocol: "tcp", First: 2222, Last: 2222, WAN: true})
	c.StateDir = s.state
	s.must(order{Op: "apply", Config: c})
	holds("after a change")
	s.disturb("nft flush ruleset")
	holds("after flush ruleset")
	s.stop()
	holds("after the agent's end")
	s.start(c)
	holds("after the agent's start")
	for _, b := range s.must(order{Op: "bans"}).Bans {
		if b.Jail != "sshd" || b.Reason != "wrong passwords" || b.Attempts != 5 || b.Times != 1 || !b.Until.Equal(until) && b.Addr == addr(attackerAddr) && b.Until.Sub(until).Abs() > time.Second {
			t.Errorf("what is known of the ban is lost: %+v", b)
		}
	}
	s.stop()
	s.appliance.Run("nft", "flush", "ruleset") // the machine is off
	s.appliance.Do(func() error {
		restored, err := Restore(t.Context(), s.state)
		if !restored {
			t.Error("there was nothing to restore")
		}
		return err
	})
	holds("after the machine's start, without the agent")
	s.check("after the machine's start, without the agent")
	s.start(c)
	if was := s.must(order{Op: "unban", Addrs: []netip.Addr{addr(attackerAddr)}}).Was; !was {
		t.Error("unban says that nobody was banned")
	}
	if was := s.must(order{Op: "unban", Addrs: []netip.Addr{addr(attackerAddr)}}).Was; was {
		t.Error("unban says that somebody was banned, who is not")
	}
	s.reaches(attackerAddr, true)
	s.expectBanned(six)
	s.must(order{Op: "unban-all"})
	s.expectBanned()
	s.reaches(attackerAddr6, true)
}

// Nobody bans those whom the appliance is for.
func TestExemptAreNeverBanned(t *testing.T) {
	s := newSite(t)
	s.start(labConfig())
	labtest.Eventually(t, func() error {
		if a := s.must(order{Op: "sets", Addrs: []netip.Addr{addr(namedAddr)}}); !slices.Contains(a.Sets, setKnown) {
			return fmt.Errorf("the name is not resolved yet: %v", a.Sets)
		}
		return nil
	})
	phone := "203.0.113.50"
	s.must(order{Op: "known", Addrs: []netip.Addr{addr(phone)}})
	for _, a := range []string{deskAddr, deskAddr6, friendAddr, "2001:db8:1::5", namedAddr, exemptInTests.Addr().String(), phone, "127.0.0.1", "::ffff:192.168.1.9", "fe80::1", "224.0.0.1"} {
		if got := s.tell(order{Op: "ban", Ban: Ban{Addr: addr(a), Jail: "sshd", Duration: time.Hour}}); !got.Exempt {
			t.Errorf("%s: %+v", a, got)
		}
	}
	s.expectBanned()
	// A phone that was banned, and then registers after all, is let in.
	s.must(order{Op: "ban", Ban: Ban{Addr: addr(attackerAddr), Jail: "sip"}})
	s.reaches(attackerAddr, false)
	s.must(order{Op: "known", Addrs: []netip.Addr{addr(attackerAddr)}})
	s.reaches(attackerAddr, true)
	s.expectBanned()
	s.must(order{Op: "known"})
	if a := s.must(order{Op: "sets", Addrs: []netip.Addr{addr(attackerAddr)}}); len(a.Sets) != 0 {
		t.Errorf("its registration is over, and it is in %v", a.Sets)
	}
	for _, bad := range []Ban{{Jail: "x"}, {Addr: addr(attackerAddr)}, {Addr: addr(attackerAddr), Jail: "X y"}, {Addr: addr(attackerAddr), Jail: "x", Duration: 2 * MaxBan}} {
		if a := s.tell(order{Op: "ban", Ban: bad}); a.Error == "" || a.Exempt {
			t.Errorf("%+v: %+v", bad, a)
		}
	}
}

// Who comes back is banned for longer; the same offence seen twice counts once.
func TestEscalation(t *testing.T) {
	m := &Manager{bans: map[netip.Addr]record{}, metrics: newMetrics()}
	now := time.Now()
	for i, want := range []time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 7 * 24 * time.Hour} {
		r := m.sentence(Ban{Addr: addr(attackerAddr), Jail: "sip", Attempts: 3}, now)
		m.remember(r)
		if got := r.Until.Sub(now); got != want || r.Times != i+1 {
			t.Errorf("ban %d: %v, and it counts %d", i+1, got, r.Times)
		}
		again := m.sentence(Ban{Addr: addr(attackerAddr), Jail: "ami", Attempts: 2}, now.Add(time.Second))
		if again.Times != r.Times || again.Attempts != 5 || again.Until.Before(r.Until) {
			t.Errorf("seen twice: %+v after %+v", again, r)
		}
		now = r.Until.Add(time.Minute)
	}
}

// request sends datagrams that begin with a method from one sender.
func (s *site) request(h *labtest.Host, source, to, method string, n int) {
	s.t.Helper()
	h.Do(func() error {
		// Not connected: such a socket is told of every port that is closed.
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(source), 0)))
		if err != nil {
			return err
		}
		defer c.Close()
		for range n {
			if _, err := c.WriteToUDPAddrPort([]byte(method+" sip:appliance SIP/2.0\r\n"), netip.AddrPortFrom(addr(to), 5060)); err != nil {
				return err
			}
		}
		return nil
	})
}

// The shield stops whoever asks too often, and nobody else.
func TestShield(t *testing.T) {
	s := newSite(t)
	c := labConfig()
	c.Shield = DefaultShield()
	s.start(c)
	sources := []string{attackerAddr, attackerAddr6, "198.51.100.67", "198.51.100.68"}
	s.internet.Run("ip", "address", "add", "198.51.100.67/24", "dev", "eth0")
	s.internet.Run("ip", "address", "add", "198.51.100.68/24", "dev", "eth0")
	for i, method := range []string{"REGISTER", "OPTIONS", "INVITE"} {
		to := wanAddr
		if addr(sources[i]).Is6() {
			to = wanAddr6
		}
		s.request(s.internet, sources[i], to, method, 5)
		s.reaches(sources[i], true) // a few are fine
		s.request(s.internet, sources[i], to, method, 40)
		s.reaches(sources[i], false)
	}
	s.request(s.internet, "198.51.100.68", wanAddr, "OPTIONS sip:100@198.51.100.2", 1)
	s.reaches("198.51.100.68", false)
	s.expectBanned("198.51.100.66", "198.51.100.67", "198.51.100.68", sender(addr(attackerAddr6)).String())
	for _, b := range s.must(order{Op: "bans"}).Bans {
		if b.Jail != shieldJail || time.Until(b.Until) > time.Minute {
			t.Errorf("a first ban, by packets that anybody could have forged: %+v", b)
		}
	}
	drops := s.must(order{Op: "drops"}).Drops
	for _, reason := range []string{dropRegister, dropOptions, dropInvite, dropScanner, dropShield} {
		if drops[reason].Packets == 0 {
			t.Errorf("no drops by %s: %v", reason, drops)
		}
	}

	// The allow list and the LAN may ask as often as they like, up to a brake.
	s.request(s.internet, friendAddr, wanAddr, "REGISTER", 500)
	s.reaches(friendAddr, true)
	s.request(s.desk, deskAddr, lanAddr, "REGISTER", 500)
	if got := s.must(order{Op: "drops"}).Drops[dropLANRegister].Packets; got == 0 {
		t.Error("a machine of the LAN that registers without end is not slowed down")
	}
	p, marker := s.probe(zoneRow{from: "lan", to: "appliance", proto: "udp"}, 5060, false)
	if !passes(t, p, true, marker) {
		t.Error("a machine of the LAN was shut out")
	}

	// Kernel bans survive a change, the loss of the table and the agent's restart.
	before := s.banned()
	s.disturb("nft flush ruleset")
	s.stop()
	s.start(c)
	s.expectBanned(before...)
	s.must(order{Op: "unban", Addrs: []netip.Addr{addr("198.51.100.67")}})
	s.reaches("198.51.100.67", true)
	// A second offence within a day costs more.
	for range 2 {
		s.request(s.internet, "198.51.100.67", wanAddr, "INVITE", 60)
		s.reaches("198.51.100.67", false)
		s.appliance.Run("nft", "flush", "set", "inet", TableName, "shield4") // as if it were over
	}
	s.request(s.internet, "198.51.100.67", wanAddr, "INVITE", 60)
	if left := s.remaining("shield4", "198.51.100.67"); left <= 5*time.Minute {
		t.Errorf("the third ban within a day: %v", left)
	}
}

// A machine of the LAN that was told to slow down still gets through now and then.
func TestThrottle(t *testing.T) {
	s := newSite(t)
	s.start(labConfig())
	s.request(s.desk, deskAddr, lanAddr, "REGISTER", 20)
	if n := s.must(order{Op: "drops"}).Drops[dropLANRegister].Packets; n != 0 {
		t.Fatalf("%d requests were dropped before", n)
	}
	s.must(order{Op: "throttle", Addrs: []netip.Addr{addr(deskAddr)}, Duration: time.Hour})
	s.request(s.desk, deskAddr, lanAddr, "REGISTER", 20)
	if n := s.must(order{Op: "drops"}).Drops[dropLANRegister].Packets; n < 10 || n > 17 {
		t.Errorf("%d of 20 requests were dropped", n)
	}
	s.expectBanned()
	s.disturb("nft flush ruleset")
	if a := s.must(order{Op: "sets", Addrs: []netip.Addr{addr(deskAddr)}}); !slices.Contains(a.Sets, setSlow) {
		t.Errorf("after the loss of the table it is in %v", a.Sets)
	}
}

// Whoever forges one of our own addresses, or the LAN's, gets nowhere.
func TestForgedSenders(t *testing.T) {
	s := newSite(t)
	s.start(labConfig())
	for i, a := range []string{"192.168.1.77", wanAddr, "172.30.0.9", "fd00:34::77"} {
		to, bits := lanAddr, "/32" // not the WAN's, which is the sender's own now
		if addr(a).Is6() {
			to, bits = lanAddr6, "/128"
		}
		s.internet.Run("ip", "address", "add", a+bits, "dev", "lo", "nodad")
		fd, err := probe{from: s.internet, source: a, to: to, protocol: "udp", port: 5060}.open()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		labtest.Eventually(t, func() error {
			if n := s.must(order{Op: "drops"}).Drops[dropBogus].Packets; n != uint64(i+1) {
				return fmt.Errorf("%s: %d forged packets were seen", a, n)
			}
			return nil
		})
		s.internet.Run("ip", "address", "del", a+bits, "dev", "lo")
	}
}

// A trial is not what the machine starts with, and switching off takes all away.
func TestTentativeAndDisabled(t *testing.T) {
	s := newSite(t)
	c := labConfig()
	s.start(c)
	c.StateDir = s.state
	saved := func() string {
		data, err := os.ReadFile(filepath.Join(s.state, rulesetFile))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(data)
	}
	before := saved()
	c.Services = append(c.Services, Service{Name: "trial", Protocol: "tcp", First: 2222, Last: 2222, WAN: true})
	c.Tentative = true
	s.must(order{Op: "apply", Config: c})
	if saved() != before || !strings.Contains(s.rules(), `"trial"`) {
		t.Error("a trial is kept for the next start, or is not in force")
	}
	c.Tentative = false
	s.must(order{Op: "apply", Config: c})
	if !strings.Contains(saved(), `"trial"`) {
		t.Error("what was confirmed is not kept for the next start")
	}
	s.must(order{Op: "ban", Ban: Ban{Addr: addr(attackerAddr), Jail: "sshd", Duration: time.Hour}})
	c.Disabled = true
	if a := s.must(order{Op: "apply", Config: c}); a.Status.Active {
		t.Error("it says that rules are in force")
	}
	if out := s.appliance.Run("nft", "list", "tables"); strings.Contains(out, TableName) || saved() != "" {
		t.Errorf("left behind: %s, and for the next start: %q", out, saved())
	}
	if a := s.tell(order{Op: "ban", Ban: Ban{Addr: addr("198.51.100.67"), Jail: "sshd"}}); a.Error != ErrDisabled.Error() {
		t.Errorf("a ban without rules: %q", a.Error)
	}
	c.Disabled = false
	s.must(order{Op: "apply", Config: c})
	s.reaches(attackerAddr, false)
	bad := c
	bad.LAN = "no such link"
	if a := s.tell(order{Op: "apply", Config: bad}); a.Error == "" || !a.Status.Active {
		t.Errorf("a configuration that is not valid: %+v", a)
	}
	s.check("after a configuration that is not valid")
}
