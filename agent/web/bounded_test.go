package web

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
)

// However many clients there are, they have no more than so many connections together, also such that ask nothing
// and take nothing; there is room again when one is closed.
func TestConnectionsInAllAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Bounded(inner)
	accepted := make(chan net.Conn, maxConns+1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
		for len(accepted) > 0 {
			_ = (<-accepted).Close()
		}
	})
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp4", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var served []net.Conn
	for range maxConns { // loopback, which has no bound of its own
		dial()
		served = append(served, <-accepted)
	}
	if n, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) || len(accepted) != 0 {
		t.Errorf("one connection too many: %d bytes, %v, %d were accepted", n, err, len(accepted))
	}
	_ = served[0].Close()
	dial()
	served[0] = <-accepted
	for _, c := range served {
		_ = c.Close()
	}
	if b := l.(*bounded); b.total != 0 || len(b.from) != 0 {
		t.Errorf("%d connections are counted after the last was closed", b.total)
	}
}

// One station has no more than its share, and what it has leaves the others theirs.
func TestShareOfAStation(t *testing.T) {
	b := newBounded(nil)
	one, other := netip.MustParseAddr("192.168.1.20"), netip.MustParseAddr("192.168.1.21")
	for range maxPerClient {
		if !b.enter(one) {
			t.Fatal("less than its share")
		}
	}
	if b.enter(one) {
		t.Error("more than its share")
	}
	if !b.enter(other) {
		t.Error("another one has none")
	}
	b.leave(one)
	if !b.enter(one) {
		t.Error("no room for it after it has closed one")
	}
}
