package freepbx

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
func TestServiceWithFreePBX(t *testing.T) {
	p := newPBX(t)
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

// service runs the exchange's service as the agent does.
func (p *pbxHere) service(want pbx.Desired) *pbx.Service {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = p.host.Host.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	s := pbx.New(want, pbx.Deps{
		Manager: ami.Config{
			Addr: "127.0.0.1:5038", User: want.ManagerUser, Secret: want.ManagerSecret.Reveal(), MinDelay: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
		},
		NewDriver: func(c *ami.Client) pbx.Driver {
			return New(Options{System: p.machine, Endpoints: endpointsOf(c), Record: p.record, Logger: slog.New(slog.DiscardHandler)})
		},
		SIP: netip.MustParseAddrPort("127.0.0.1:5060"), Dial: dial, Logger: slog.New(slog.DiscardHandler), Process: func() bool { return true }, OnChange: func() {},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.t.Cleanup(func() { cancel(); <-done })
	return s
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
