package freepbx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/sipcall"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// The exchange's service with this driver, from an Asterisk that does not know us to
// phones that register: what the file says reaches them, and what an admin has made
// stays.
func testServiceWithFreePBX(t *testing.T, p *pbxHere) {
	p.handMade("200", "By hand")
	want := pbx.Desired{Extensions: []pbx.Extension{alice, bob}, ManagerUser: "sae-agent", ManagerSecret: "another-secret-of-ours"}
	s := p.service(want)
	p.inLine(s)
	if err := p.register("100", alice.Secret.Reveal()); err != nil {
		t.Errorf("Alice's phone: %v", err)
	}
	labtest.Eventually(t, func() error {
		if st := s.State(); len(st.Lines["100"].Registrations) != 1 || st.Health.State != pbx.Well {
			return fmt.Errorf("the exchange: %+v", st)
		}
		return nil
	})

	changed := alice
	changed.Secret = "another-secret-5678"
	want.Extensions = []pbx.Extension{changed}
	want.KeepRemoved = true // as long as nobody has confirmed
	s.Want(want)
	p.inLine(s)
	if err := p.register("100", alice.Secret.Reveal()); err == nil {
		t.Error("the old secret is good still")
	}
	labtest.Eventually(t, func() error {
		if l := s.State().Lines["100"]; l.Registered() {
			return fmt.Errorf("the phone with the old secret rings still: %+v", l)
		}
		return nil
	})
	if err := p.register("100", changed.Secret.Reveal()); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if err := p.register("101", bob.Secret.Reveal()); err != nil {
		t.Errorf("Bob is gone before that was confirmed: %v", err)
	}
	want.KeepRemoved = false
	s.Want(want)
	p.inLine(s)
	if err := p.register("101", bob.Secret.Reveal()); err == nil {
		t.Error("Bob registers still")
	}
	if err := p.register("200", "by-hand-12345678"); err != nil {
		t.Errorf("the admin's extension: %v", err)
	}
}

// A reload that fails, then works, never leaves a phone refused: what its file gets is what Asterisk takes at that moment,
// for a daemon that was started meanwhile, too.
func testFailedReloadKeepsPhonesIn(t *testing.T, p *pbxHere) {
	want := pbx.Desired{Extensions: []pbx.Extension{alice}, ManagerUser: "sae-agent", ManagerSecret: "another-secret-of-ours"}
	s, stop := p.runService(want)
	p.inLine(s)
	// What a phone has is what the exchange was read back with.
	file := func(s *pbx.Service) string {
		if in := s.State().Outcome.InLine; in != nil && len(in.Extensions) == 1 {
			return in.Extensions[0].Secret.Reveal()
		}
		return "none"
	}
	p.behave(modeFail)
	changed := alice
	changed.Secret = "another-secret-5678"
	want.Extensions = []pbx.Extension{changed}
	s.Want(want)
	for range 2 { // the second apply says so, too
		o, err := s.Settle(t.Context())
		if err != nil || o.Err == nil || !errors.Is(o.Err, pbx.ErrUnserved) || !strings.Contains(o.Err.Error(), "Bad destinations") || len(o.Unserved) != 1 || o.Unserved[0].Number != "100" {
			t.Fatalf("a reload that failed: %v, %+v", err, o)
		}
	}
	if err := p.register("100", file(s)); err != nil {
		t.Errorf("the phone is refused after the failed reload: %v", err)
	}
	stop()
	s, _ = p.runService(want)
	if err := p.register("100", file(s)); err != nil {
		t.Errorf("the phone is refused before the next daemon has looked: %v", err)
	}
	if o, err := s.Settle(t.Context()); err != nil || o.Err == nil {
		t.Errorf("the next daemon: %v, %+v", err, o)
	}
	if err := p.register("100", file(s)); err != nil {
		t.Errorf("the phone is refused after the next daemon has looked: %v", err)
	}
	p.behave("")
	p.inLine(s)
	if got := file(s); got != changed.Secret.Reveal() {
		t.Errorf("the phone's secret is %q", got)
	}
	if err := p.register("100", file(s)); err != nil {
		t.Errorf("the phone is refused after the reload has worked: %v", err)
	}
}

func (p *pbxHere) service(want pbx.Desired) *pbx.Service {
	s, _ := p.runService(want)
	return s
}

// runService runs the exchange's service as the agent does, until the test or stop ends it.
func (p *pbxHere) runService(want pbx.Desired) (s *pbx.Service, stop func()) {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = p.host.Host.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	s = pbx.New(want, pbx.Deps{
		Record: filepath.Join(p.dir, "exchange.json"),
		Manager: ami.Config{
			Addr: "127.0.0.1:5038", User: want.ManagerUser, Secret: want.ManagerSecret.Reveal(), MinDelay: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
		},
		NewDriver: func(c *ami.Client) pbx.Driver {
			return New(Options{System: p.machine, Accounts: accountsOf(c), Record: p.record, Logger: slog.New(slog.DiscardHandler)})
		},
		SIP: netip.MustParseAddrPort("127.0.0.1:5060"), Dial: dial, Logger: slog.New(slog.DiscardHandler), Process: func() bool { return true }, OnChange: func() {},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	p.t.Cleanup(stop)
	return s, stop
}

// inLine waits until the exchange has what it should have.
func (p *pbxHere) inLine(s *pbx.Service) {
	p.t.Helper()
	labtest.Eventually(p.t, func() error {
		outcome, err := s.Settle(p.t.Context())
		if err != nil || outcome.Err != nil {
			return fmt.Errorf("%w, %w", err, outcome.Err)
		}
		return nil
	})
}

// register has a telephone on the machine register.
func (p *pbxHere) register(number, secret string) error {
	phone, err := sipcall.New(p.t.Context(), sipcall.Config{
		Server: netip.MustParseAddrPort("127.0.0.1:5060"), Number: number, Secret: secret,
		Listen: func(port uint16) (conn net.PacketConn, err error) {
			err = p.host.Host.Do(func() error {
				conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)))
				return err
			})
			return conn, err
		},
	})
	if err != nil {
		return err
	}
	p.t.Cleanup(func() { phone.Close() })
	return phone.Register(p.t.Context(), time.Minute)
}
