package web

import (
	"net"
	"net/netip"
	"sync"
)

const (
	// maxConns is how many connections a listener has at once.
	maxConns = 2048
	// maxPerClient is how many of them are one address's. A phone has one, a browser six.
	maxPerClient = 32
)

// bounded is a listener that closes connections beyond its bounds at once, so that one
// client cannot have them all.
type bounded struct {
	net.Listener

	mu    sync.Mutex // guards the following
	total int
	from  map[netip.Addr]int
}

// Bounded returns l with the bounds of every listener of the appliance's.
func Bounded(l net.Listener) net.Listener { return newBounded(l) }

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, from: make(map[netip.Addr]int)}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if b.enter(addr) {
			return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { b.leave(addr) })}, nil
		}
		_ = c.Close()
	}
}

func (b *bounded) enter(addr netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total >= maxConns || b.from[addr] >= maxPerClient && !addr.IsLoopback() {
		return false
	}
	b.total++
	b.from[addr]++
	return true
}

func (b *bounded) leave(addr netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.from[addr]--; b.from[addr] == 0 {
		delete(b.from, addr)
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// NetConn returns the connection below, as that of a tls.Conn does.
func (c *boundedConn) NetConn() net.Conn { return c.Conn }
