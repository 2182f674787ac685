package freepbx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/sipcall"
	"github.com/sae-agent/sae-agent/internal/pause"
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
// for a daemon that was started meanwhile, too. The phone renews its registration all the time, and can be called in the
// end.
func testFailedReloadKeepsPhonesIn(t *testing.T, p *pbxHere) {
	p.exec("UPDATE kvstore_Sipsettings SET val = '' WHERE `key` = 'externip'") // with it calls are silent, as on the real one
	want := pbx.Desired{Extensions: []pbx.Extension{alice, bob}, ManagerUser: "sae-agent", ManagerSecret: "another-secret-of-ours"}
	s, stop := p.runService(want)
	p.inLine(s)
	var runs atomic.Pointer[pbx.Service]
	runs.Store(s)
	// What a phone has is what the exchange was read back with.
	file := func() string {
		in := runs.Load().State().Outcome.ReadBack
		if in == nil {
			return "none"
		}
		i := slices.IndexFunc(in.Extensions, func(e pbx.Extension) bool { return e.Number == "100" })
		return in.Extensions[i].Secret.Reveal()
	}
	phone := p.renewing("100", file)
	phone.renews(t, 2)
	p.behave(modeFail)
	changed := alice
	changed.Secret = "another-secret-5678"
	want.Extensions = []pbx.Extension{changed, bob}
	s.Want(want)
	for range 2 { // the second apply says so, too
		o, err := s.Settle(t.Context())
		if err != nil || o.Err == nil || !errors.Is(o.Err, pbx.ErrUnserved) || !strings.Contains(o.Err.Error(), "Bad destinations") || len(o.Unserved) != 1 || o.Unserved[0].Number != "100" {
			t.Fatalf("a reload that failed: %v, %+v", err, o)
		}
		phone.renews(t, 2)
	}
	stop()
	s, _ = p.runService(want)
	runs.Store(s)
	phone.renews(t, 2) // before the next daemon has looked, and after it has
	if o, err := s.Settle(t.Context()); err != nil || o.Err == nil {
		t.Errorf("the next daemon: %v, %+v", err, o)
	}
	phone.renews(t, 2)
	if n := phone.refused(); n != 0 {
		t.Errorf("the phone was refused %d times while the reload failed", n)
	}

	p.refuseAfterReload()
	p.behave("")
	p.inLine(s)
	if got := file(); got != changed.Secret.Reveal() || p.left() != 0 {
		t.Errorf("the phone's secret is %q, log-ins that were not refused: %d", got, p.left())
	}
	phone.renews(t, 2) // one may have been on its way with the former secret
	before := phone.refused()
	phone.renews(t, 3)
	if n := phone.refused(); n != before {
		t.Errorf("the phone was refused %d times after the reload had worked", n-before)
	}
	t.Logf("refused %d times between the exchange's change and the file's", before)
	called := phone.stop()
	p.talk(p.phone("101", bob.Secret.Reveal(), 1000), called)
}

// renewing is a phone that renews its registration all the time, with the secret that its file has at that moment.
type renewing struct {
	stop func() *sipcall.Phone

	mu            sync.Mutex // guards the following
	good, refusal int
	last          error
}

func (p *pbxHere) renewing(number string, file func() string) *renewing {
	r := new(renewing)
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan *sipcall.Phone, 1)
	secret := file()
	phone := p.phone(number, secret, 440)
	go func() {
		for pause.For(ctx, 50*time.Millisecond) {
			if now := file(); now != secret { // the former contact is ended by the exchange
				secret, phone = now, p.phone(number, now, 440)
			}
			r.note(phone.Register(p.t.Context(), time.Minute))
		}
		done <- phone
	}()
	r.stop = sync.OnceValue(func() *sipcall.Phone { cancel(); return <-done })
	p.t.Cleanup(func() { r.stop() })
	return r
}

func (r *renewing) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last = err; err == nil {
		r.good++
	} else {
		r.refusal++
	}
}

// renews waits until the registration was renewed that often.
func (r *renewing) renews(t *testing.T, times int) {
	t.Helper()
	r.mu.Lock()
	until := r.good + times
	r.mu.Unlock()
	labtest.Eventually(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.good < until {
			return fmt.Errorf("not renewed: %w", r.last)
		}
		return nil
	})
}

func (r *renewing) refused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusal
}

// left are the log-ins at the manager interface that are still to be refused.
func (p *pbxHere) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// talk has one phone call the other; each hears the other.
func (p *pbxHere) talk(from, to *sipcall.Phone) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := from.Register(ctx, time.Minute); err != nil {
		p.t.Fatal(err)
	}
	if proof := sipcall.Prove(ctx, from, to); proof.Call != nil || proof.Audio != nil { // there are no lamps here
		p.t.Errorf("no call: %v, %v, media at %v", proof.Call, proof.Audio, proof.Media)
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
		if err == nil && network == "tcp" {
			conn = p.manage(conn)
		}
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
	return p.phone(number, secret, 440).Register(p.t.Context(), time.Minute)
}

// phone is a telephone on the machine, until the test ends.
func (p *pbxHere) phone(number, secret string, tone float64) *sipcall.Phone {
	phone, err := sipcall.New(p.t.Context(), sipcall.Config{
		Server: netip.MustParseAddrPort("127.0.0.1:5060"), Number: number, Secret: secret, Tone: tone,
		Listen: func(port uint16) (conn net.PacketConn, err error) {
			err = p.host.Host.Do(func() error {
				conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)))
				return err
			})
			return conn, err
		},
	})
	if err != nil {
		p.t.Error(err) // nothing is tried with it then
		return nil
	}
	p.t.Cleanup(func() { _ = phone.Close() })
	return phone
}
