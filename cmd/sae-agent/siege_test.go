package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/sipcall"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// siege is an appliance whose SIP is open to the Internet, with a real Asterisk,
// two phones on its LAN, and an Internet full of attackers.
type siege struct {
	*appliance
	internet   *labtest.Switch
	address    string // of the appliance in the Internet
	alice, bob *sipcall.Phone
}

const (
	aliceSecret, aliceTone = "needle-secret-alice", 440 // Hz
	bobSecret, bobTone     = "needle-secret-bobby", 620
)

func newSiege(t *testing.T) *siege {
	t.Helper()
	config := strings.NewReplacer("pbx: {driver: none}", "pbx: {driver: asterisk}", "firewall: {enabled: false}", "firewall: {wan_allow: [sip]}",
		"name: Bob}", "name: Bob, secret: "+bobSecret+"}").Replace(siteConfig)
	s := &siege{appliance: prepareAppliance(t, config)}
	server := s.host.Asterisk(nil)
	s.env = []string{"PATH=" + filepath.Dir(server.Program()) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	s.start()
	s.internet = s.lab.Switch("internet")
	s.internet.Plug(s.wan, "eth1")
	s.wan.Addr("eth1", "203.0.113.1/24")
	s.wan.Sysctl("net.ipv4.ip_forward", "1")
	labtest.Eventually(t, func() error {
		out := s.host.Run("ip", "-4", "-o", "address", "show", "dev", "ens33")
		for _, f := range strings.Fields(out) {
			if p, err := netip.ParsePrefix(f); err == nil {
				s.address = p.Addr().String()
				return nil
			}
		}
		return fmt.Errorf("no address: %s", out)
	})
	s.alice, s.bob = s.phone("192.168.1.51", "100", aliceSecret, aliceTone), s.phone("192.168.1.52", "101", bobSecret, bobTone)
	s.register(s.alice)
	s.register(s.bob)
	return s
}

// phone switches on a phone on the LAN.
func (s *siege) phone(address, number, secret string, tone float64) *sipcall.Phone {
	s.t.Helper()
	h := s.lab.Host("phone" + number)
	s.lan.Plug(h, "eth0")
	h.Addr("eth0", address+"/24")
	p, err := sipcall.New(s.t.Context(), sipcall.Config{
		Server: netip.MustParseAddrPort("192.168.1.1:5060"), Number: number, Secret: secret, Tone: tone,
		Listen: listener(h, address),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = p.Close() })
	return p
}

// register registers a phone as soon as the exchange has its account.
func (s *siege) register(p *sipcall.Phone) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer cancel()
		return p.Register(ctx, time.Hour)
	})
}

// attacker adds a machine to the Internet.
func (s *siege) attacker(address string) *labtest.Host {
	s.t.Helper()
	h := s.lab.Host("attacker")
	s.internet.Plug(h, "eth0")
	h.Addr("eth0", address+"/24")
	h.Route("default", "via", "203.0.113.1")
	return h
}

// untouched has the phones of the LAN register anew and call each other, and returns
// how long it took until the call was answered.
func (s *siege) untouched() (setup time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for _, p := range []*sipcall.Phone{s.alice, s.bob} {
		if err := p.Register(ctx, time.Hour); err != nil {
			s.t.Fatalf("a phone of the LAN cannot register: %v", err)
		}
	}
	heard := make(chan error, 1)
	go func() { heard <- s.answer(ctx) }()
	began := time.Now()
	call, err := s.alice.Call(ctx, "101")
	setup = time.Since(began)
	if err == nil {
		err = call.Hear(ctx, bobTone)
	}
	if err := errors.Join(err, <-heard); err != nil {
		s.t.Fatalf("a call on the LAN: %v", err)
	}
	if err := call.HangUp(ctx); err != nil {
		s.t.Fatalf("hang up: %v", err)
	}
	return setup
}

// answer has Bob's phone answer one call, and hear Alice's.
func (s *siege) answer(ctx context.Context) error {
	in, err := s.bob.Ringing(ctx)
	if err != nil {
		return err
	}
	call, err := in.Answer(ctx)
	if err != nil {
		return err
	}
	return call.Hear(ctx, aliceTone)
}

// refused returns how many attempts the exchange has refused: what got through.
func (s *siege) refused() (n int) {
	s.t.Helper()
	for line := range strings.Lines(s.host.Run("curl", "-sS", "http://192.168.1.1:9303/metrics")) {
		if value, ok := strings.CutPrefix(line, "sae_sip_auth_failures_total{"); ok {
			_, value, _ = strings.Cut(strings.TrimSpace(value), " ")
			one, err := strconv.Atoi(value)
			if err != nil {
				s.t.Fatal(err)
			}
			n += one
		}
	}
	return n
}

// bans lists who is banned.
func (s *siege) bans() (bans []control.Ban) {
	s.t.Helper()
	s.query(&bans, "bans")
	return bans
}

// An exchange that is open to the Internet, attacked in all the usual ways, one
// after the other. Meanwhile the phones of the LAN notice nothing.
func TestSiege(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	s.passwordsTried("203.0.113.21")
	s.scanner("203.0.113.22", "sip-login sip-shield", "svcrack", "-u100", "-r1000-999999")
	s.scanner("203.0.113.23", "sip-login sip-shield sip-scan", "svcrack", "-u999", "-r1000-999999")
	s.scanner("203.0.113.24", "sip-shield", "svmap")
	s.scanner("203.0.113.25", "sip-shield sip-scan", "sipp", "-sn", "uac", "-r", "500", "-l", "100000", "-nostdin", "-s", "100")
	s.scanner("203.0.113.26", "sip-scan", "sipp", "-sn", "uac", "-t", "t1", "-r", "100", "-l", "100000", "-nostdin", "-s", "100")
	s.findsNobody("203.0.113.27", "REGISTER")
	s.findsNobody("203.0.113.28", "INVITE")
	s.forgedFlood("203.0.113.29")
	s.wrongPhone()
	for _, b := range s.bans() {
		if strings.HasPrefix(b.Address, "192.168.1.") || b.Address == s.address {
			t.Errorf("who must never be banned is: %+v", b)
		}
	}
}

// passwordsTried tries one password after the other as a phone would, slowly enough
// for every limit: the fifth is a ban.
func (s *siege) passwordsTried(address string) {
	s.t.Helper()
	from := s.attacker(address)
	tries, began := 0, time.Now()
	labtest.Eventually(s.t, func() error {
		tries++
		return s.guess(from, address, fmt.Sprint("guess", tries))
	})
	b := s.banned(address)
	s.t.Logf("figure: one password after the other, as a phone would | banned %v after the first, %d were answered", b.Since.Sub(began).Round(time.Millisecond), tries-1)
	if b.Jail != "sip-login" || b.Reason != "wrong SIP passwords" || b.Attempts != 5 {
		s.t.Errorf("ban: %+v", b)
	}
	s.untouched()
}

// guess tries to register from the Internet with a wrong password. It returns nil
// when nobody answers any more.
func (s *siege) guess(from *labtest.Host, address, secret string) error {
	s.t.Helper()
	p, err := sipcall.New(s.t.Context(), sipcall.Config{
		Server: netip.MustParseAddrPort(s.address + ":5060"), Number: "100", Secret: secret, Listen: listener(from, address),
	})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	if err := p.Register(ctx, time.Hour); errors.Is(err, sipcall.ErrSecret) {
		return err
	}
	return nil
}

// scanner runs a tool against the appliance until it is banned by one of the jails.
func (s *siege) scanner(address, jails string, argv ...string) {
	s.t.Helper()
	before, began := s.refused(), time.Now()
	p := s.attacker(address).Start(argv[0], append(argv[1:], s.address)...)
	b := s.banned(address)
	s.t.Logf("figure: %s | banned %v after its start (%s), %d requests got through to be refused",
		strings.Join(argv, " "), max(0, b.Since.Sub(began).Round(time.Millisecond)), b.Jail, s.refused()-before)
	if !strings.Contains(jails, b.Jail) {
		s.t.Errorf("%v: %+v, want one of %s", argv, b, jails)
	}
	s.untouched()
	_ = p.Kill() // it may have ended
}

// findsNobody looks for extensions with svwar, which gives up by itself: the
// exchange answers the same for those that exist as for others.
func (s *siege) findsNobody(address, method string) {
	s.t.Helper()
	out, _ := s.attacker(address).Command("timeout", "60", "svwar", "--force", "-e100-110", "-m", method, s.address).CombinedOutput()
	if !strings.Contains(string(out), "found nothing") {
		s.t.Errorf("svwar -m %s:\n%s", method, out)
	}
}

// forgedFlood sends junk in the name of ever other senders, among them the phones
// of the LAN. It bans nobody whom it matters.
func (s *siege) forgedFlood(address string) {
	s.t.Helper()
	from := s.attacker(address)
	done, stop := make(chan int), make(chan struct{})
	calm, before, began := s.untouched(), s.refused(), time.Now()
	go func() { done <- s.forge(from, stop) }()
	var worst time.Duration
	for range 3 {
		worst = max(worst, s.untouched())
	}
	close(stop)
	sent := <-done
	s.t.Logf("figure: %.0f forged requests per second | %d of %d got through; a call on the LAN is answered after %v at worst, %v without them",
		float64(sent)/time.Since(began).Seconds(), s.refused()-before, sent, worst.Round(time.Millisecond), calm.Round(time.Millisecond))
}

// wrongPhone is a phone on the LAN with a wrong secret: it is told of and slowed
// down, not banned, and its neighbours call.
func (s *siege) wrongPhone() {
	s.t.Helper()
	p := s.phone("192.168.1.53", "102", "needle-secret-wrong", 700)
	for range 12 {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		_ = p.Register(ctx, time.Hour) // refused, or not answered while it is slowed down
		cancel()
	}
	labtest.Eventually(s.t, func() error {
		if out, _ := s.run("status"); !strings.Contains(out, `192.168.1.53 is refused by the exchange as "102"`) {
			return fmt.Errorf("the status does not tell of it:\n%s", out)
		}
		return nil
	})
	if out := s.host.Run("nft", "list", "ruleset"); !strings.Contains(out, "192.168.1.53 ") {
		s.t.Errorf("it is not slowed down:\n%s", out)
	}
	s.untouched()
}

// listener opens sockets on a host, at an address of it.
func listener(h *labtest.Host, address string) func(uint16) (net.PacketConn, error) {
	return func(port uint16) (conn net.PacketConn, err error) {
		err = h.Host.Do(func() (err error) {
			conn, err = net.ListenPacket("udp4", net.JoinHostPort(address, fmt.Sprint(port)))
			return err
		})
		return conn, err
	}
}

// forge sends REGISTER and INVITE from made-up senders until stop is closed, some of
// them of the LAN and of the appliance itself. It returns how many.
func (s *siege) forge(from *labtest.Host, stop <-chan struct{}) (sent int) {
	fd := -1
	if err := from.Host.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		return err
	}); err != nil {
		s.t.Error(err)
		return 0
	}
	defer unix.Close(fd)
	to := netip.MustParseAddr(s.address)
	for {
		select {
		case <-stop:
			return sent
		default:
		}
		packet := forged(to, sent)
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}); err == nil {
			sent++
		}
		if sent%100 == 0 {
			time.Sleep(20 * time.Millisecond) // this machine has other work
		}
	}
}
