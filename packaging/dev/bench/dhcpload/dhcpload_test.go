package dhcpload

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) {
	lab.Main(m, func() error { return goleak.Find() })
}

var (
	relay  = netip.MustParseAddr("127.0.0.2")
	server = netip.MustParseAddr("127.0.0.1")
)

// respond is a DHCP server of a few lines: each client has the address that pick
// returns; a message for which drop is true gets no answer.
func respond(t *testing.T, pick func(client uint32) uint32, kindOfAck byte, drop func(n int) bool) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 67)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for n := 0; ; n++ {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if drop(n) || size != minPacket || from.Port() != 67 {
				continue
			}
			kind := byte(offer)
			if buf[typeAt] == request {
				kind = kindOfAck
			}
			client := binary.BigEndian.Uint32(buf[chaddrAt+2:])
			buf[0] = 2
			binary.BigEndian.PutUint32(buf[yiaddrAt:], pick(client))
			reply := append(buf[:optionsAt], 0, 53, 1, kind, 54, 4, 127, 0, 0, 1, 255)
			if _, err := conn.WriteToUDPAddrPort(reply, from); err != nil {
				return
			}
		}
	}()
}

func all(int) bool              { return false }
func same(client uint32) uint32 { return client + 1<<24 }

func TestRun(t *testing.T) {
	every7th := func(n int) bool { return n%7 == 6 }
	const soon, limit = 50 * time.Millisecond, 3 * time.Second
	tests := map[string]struct {
		pick func(uint32) uint32
		ack  byte
		drop func(int) bool
		wait time.Duration // until an unanswered message is sent again
		want func(Result) bool
	}{
		"all well":    {same, ack, all, time.Minute, func(r Result) bool { return r.Done >= 500 && r.Repeats == 0 && r.Duplicates == 0 && r.Naks == 0 }},
		"losses":      {same, ack, every7th, soon, func(r Result) bool { return r.Done >= 500 && r.Repeats > 50 && r.Duplicates == 0 }},
		"one address": {func(uint32) uint32 { return 7 }, ack, all, soon, func(r Result) bool { return r.Duplicates > 400 }},
		"refusals":    {same, nak, func(n int) bool { return n > 200 }, soon, func(r Result) bool { return r.Naks > 50 && r.Done == 0 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			respond(t, tt.pick, tt.ack, tt.drop)
			r, err := Run(t.Context(), Config{
				Relay: relay, Server: server, First: 1000, Clients: 64, InFlight: 16,
				Count: 500, Duration: limit, Patience: tt.wait,
			})
			if err != nil || !tt.want(r) {
				t.Errorf("%+v, %v", r, err)
			}
			if r.Done > 0 && (r.P50 <= 0 || r.P99 < r.P50 || r.Rate() <= 0) {
				t.Errorf("times: %+v", r)
			}
		})
	}
}

func TestRunRefusesImpossible(t *testing.T) {
	if r, err := Run(t.Context(), Config{Relay: relay, Server: server, Clients: 3, InFlight: 4}); err == nil {
		t.Errorf("%+v", r)
	}
}

func TestFirstOffer(t *testing.T) {
	respond(t, same, ack, func(n int) bool { return n < 5 }) // it starts late
	before := time.Now()
	at, err := FirstOffer(t.Context(), relay, server, 0)
	if err != nil || at.Before(before) {
		t.Errorf("%v, %v", at, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if at, err := FirstOffer(ctx, relay, netip.MustParseAddr("127.0.0.9"), 0); err == nil {
		t.Errorf("an offer from nobody at %v", at)
	}
}

// What a server says is never taken for more than it is.
func TestParseAnswer(t *testing.T) {
	good := append(make([]byte, optionsAt), 53, 1, offer, 54, 4, 10, 0, 0, 1, 255)
	good[0] = 2
	binary.BigEndian.PutUint32(good[cookieAt:], cookie)
	if a, ok := parseAnswer(good); !ok || a.kind != offer || a.server != [4]byte{10, 0, 0, 1} {
		t.Errorf("%+v, %v", a, ok)
	}
	for n := range optionsAt + 2 {
		if a, ok := parseAnswer(good[:n]); ok {
			t.Errorf("%d bytes: %+v", n, a)
		}
	}
	for name, change := range map[string]func(p []byte){
		"request":         func(p []byte) { p[0] = 1 },
		"no cookie":       func(p []byte) { p[cookieAt] = 0 },
		"option too long": func(p []byte) { p[optionsAt+4] = 200 },
		"no type":         func(p []byte) { p[optionsAt] = 12 },
	} {
		p := append([]byte{}, good...)
		change(p)
		if a, ok := parseAnswer(p); ok {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
