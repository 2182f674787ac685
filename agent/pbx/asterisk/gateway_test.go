package asterisk

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

const patience = time.Minute

// phone is a telephone at an address of the exchange's own machine, registered.
func (x *exchange) phone(t *testing.T, number, secret, addr string, tone float64) *sipcall.Phone {
	t.Helper()
	x.host.Addr("lo", addr+"/32")
	p, err := sipcall.New(t.Context(), sipcall.Config{
		Server: netip.MustParseAddrPort("192.168.1.1:5060"), Number: number, Secret: secret, Tone: tone,
		Listen: func(port uint16) (conn net.PacketConn, err error) {
			err = x.host.Host.Do(func() error {
				conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), port)))
				return err
			})
			return conn, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if err := p.Register(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	return p
}

// A telephone with the gateway's account plays Jitsi's gateway: calls come in with
// the room that they are for, and go out to extensions.
func TestMeetings(t *testing.T) {
	x := newExchange(t, nil)
	x.server.Start()
	want := site()
	x.apply(t, want)
	gateway := x.phone(t, "1000", want.Gateway.Secret.Reveal(), "192.168.1.60", 1000)
	alice := x.phone(t, "100", want.Extensions[0].Secret.Reveal(), "192.168.1.50", 440)

	for _, tt := range []struct{ name, dialled, room string }{
		{"the site's meeting", "8000", "sae303"},
		{"a meeting named by digits", "80001234", "1234"},
		{"the gateway's own number", "1000", "sae303"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			connect(t, alice, tt.dialled, gateway, func(in *sipcall.Incoming) {
				if got := in.Header("X-Room-Name"); got != tt.room {
					t.Errorf("the gateway is told the room %q, want %q", got, tt.room)
				}
			})
		})
	}
	for _, dialled := range []string{"+100", "100"} { // Jitsi's page puts a + before what is typed
		t.Run("from a meeting to "+dialled, func(t *testing.T) {
			connect(t, gateway, dialled, alice, func(*sipcall.Incoming) {})
		})
	}
	t.Run("nobody calls out through it", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := gateway.Call(ctx, "+33123456789"); err == nil {
			t.Error("a meeting reached a number that is no extension")
		}
	})
}

// connect has one call the other; each must hear the other.
func connect(t *testing.T, from *sipcall.Phone, number string, to *sipcall.Phone, look func(*sipcall.Incoming)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answered := make(chan *sipcall.Call, 1)
	go func() {
		defer close(answered)
		in, err := to.Ringing(ctx)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		look(in)
		c, err := in.Answer(ctx)
		if err != nil {
			t.Errorf("answer: %v", err)
			return
		}
		answered <- c
	}()
	call, err := from.Call(ctx, number)
	other := <-answered
	if err != nil || other == nil {
		t.Fatalf("call to %s: %v", number, err)
	}
	if err := call.Hear(ctx, 0); err != nil {
		t.Errorf("the caller hears nothing: %v", err)
	}
	if err := other.Hear(ctx, 0); err != nil {
		t.Errorf("the called one hears nothing: %v", err)
	}
	if err := call.HangUp(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-other.Done():
	case <-ctx.Done():
		t.Error("the other side was not told that it is over")
	}
}
