package sipcall

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// patience is for a slow machine; what is waited for takes a second at most.
const patience = time.Minute

func listenUDP(port uint16) (net.PacketConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
}

var loopback = netip.MustParseAddr("127.0.0.1")

// freePort returns a UDP port that nobody has now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := listenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return addrPort(c.LocalAddr())
}

func switchOn(t *testing.T, cfg Config) *Phone {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = listenUDP
	}
	cfg.UserAgent = "test phone"
	p, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// pair returns two phones that are each other's server.
func pair(t *testing.T) (alice, bob *Phone) {
	t.Helper()
	a, b := freePort(t), freePort(t)
	alice = switchOn(t, Config{Server: b, Port: a.Port(), Number: "100", Tone: 440})
	bob = switchOn(t, Config{Server: a, Port: b.Port(), Number: "101", Tone: 1000})
	return alice, bob
}

// answer takes the next call of a phone.
func answer(ctx context.Context, p *Phone) (*Call, error) {
	in, err := p.Ringing(ctx)
	if err != nil {
		return nil, err
	}
	return in.Answer(ctx)
}

// talk makes a call.
func talk(t *testing.T, ctx context.Context, alice, bob *Phone) (from, to *Call) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		var err error
		to, err = answer(ctx, bob)
		failed <- err
	}()
	from, err := alice.Call(ctx, "101")
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatal(err)
	}
	return from, to
}

func TestCall(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(from, to *Call) (who, other *Call)
	}{
		{"the caller hangs up", func(from, to *Call) (*Call, *Call) { return from, to }},
		{"the called one hangs up", func(from, to *Call) (*Call, *Call) { return to, from }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			alice, bob := pair(t)
			from, to := talk(t, ctx, alice, bob)
			if err := errors.Join(from.Hear(ctx, 1000), to.Hear(ctx, 440), to.Hear(ctx, 0)); err != nil {
				t.Error(err)
			}
			who, other := c.first(from, to)
			if err := who.HangUp(ctx); err != nil {
				t.Error(err)
			}
			select {
			case <-other.Done():
			case <-ctx.Done():
				t.Error("the other side does not know that the call is over")
			}
			if err := other.Hear(ctx, 0); err == nil || !strings.Contains(err.Error(), "before the call ended") {
				t.Errorf("after the call: %v", err)
			}
			if err := other.HangUp(ctx); err != nil {
				t.Errorf("hung up already: %v", err)
			}
		})
	}
}

func TestWrongTone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice, bob := pair(t)
	from, to := talk(t, ctx, alice, bob)
	if err := to.Hear(ctx, 0); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := to.Hear(short, 450); err == nil || !strings.Contains(err.Error(), "another sound") {
		t.Errorf("heard 440 Hz as 450 Hz: %v", err)
	}
	if err := from.HangUp(ctx); err != nil {
		t.Error(err)
	}
}

func TestNotAnswered(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	t.Run("declined", func(t *testing.T) {
		alice, bob := pair(t)
		failed := make(chan error, 1)
		go func() {
			in, err := bob.Ringing(ctx)
			if err == nil {
				in.Decline()
			}
			failed <- err
		}()
		_, err := alice.Call(ctx, "101")
		if err == nil || !strings.Contains(err.Error(), "call of 100 to 101: 603") {
			t.Error(err)
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		alice, bob := pair(t)
		one, stop := context.WithCancel(ctx)
		rang := make(chan error, 1)
		go func() {
			_, err := alice.Call(one, "101")
			rang <- err
		}()
		for len(bob.calls) == 0 { // until the first rings
			time.Sleep(time.Millisecond)
		}
		if _, err := alice.Call(ctx, "101"); err == nil || !strings.Contains(err.Error(), "486") {
			t.Error(err)
		}
		stop()
		if err := <-rang; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := answer(ctx, bob); err == nil {
			t.Error("answered a call that had been taken back")
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		alice := switchOn(t, Config{Server: freePort(t), Number: "100"})
		short, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New("waited long enough"))
		defer cancel()
		if _, err := alice.Call(short, "101"); err == nil || !strings.Contains(err.Error(), "waited long enough") {
			t.Error(err)
		}
	})
	t.Run("switched off", func(t *testing.T) {
		alice := switchOn(t, Config{Server: freePort(t), Number: "100"})
		cfg := Config{Server: addrPort(alice.carrier.Addr()), Port: alice.cfg.Server.Port(), Number: "101", Listen: listenUDP}
		bob, err := New(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		rang := make(chan error, 1)
		go func() {
			_, err := alice.Call(ctx, "101")
			rang <- err
		}()
		for len(bob.calls) == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := bob.Close(); err != nil {
			t.Error(err)
		}
		if err := <-rang; err == nil || !strings.Contains(err.Error(), "480") {
			t.Error(err)
		}
	})
}

func TestPing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	alice, bob := pair(t)
	if err := alice.Ping(ctx, bob.contact.Address.String()); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := alice.Ping(short, "sip:x@"+freePort(t).String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody is there: %v", err)
	}
}
