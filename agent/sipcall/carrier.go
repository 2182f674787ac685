package sipcall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// carrier is what messages go through: a UDP socket, or a connection to the server.
type carrier struct {
	transport string
	packets   net.PacketConn // with UDP
	stream    *stream        // with TCP and TLS
	accepted  bool           // the stream; belongs to serve
	ready     chan struct{}  // closed by announce
	announce  func()
	closed    chan struct{}
	pool      *sip.ConnectionPool // where sipgo looks for a connection
}

func dial(ctx context.Context, cfg Config) (c *carrier, err error) {
	c = &carrier{transport: cfg.Transport, ready: make(chan struct{}), closed: make(chan struct{})}
	c.announce = sync.OnceFunc(func() { close(c.ready) })
	switch cfg.Transport {
	case UDP:
		c.packets, err = cfg.Listen(cfg.Port)
	case TCP, TLS:
		c.stream, err = connectStream(ctx, cfg, c.retire)
	default:
		err = fmt.Errorf("there is no transport %q", cfg.Transport)
	}
	return c, err
}

// local is the phone's own end.
func (c *carrier) local() netip.AddrPort { return addrPort(c.Addr()) }

func addrPort(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// serve hands messages to the phone until the carrier is closed. Requests can be
// sent once it is ready; before that, sipgo would open a socket of its own.
func (c *carrier) serve(s *sipgo.Server) {
	defer c.announce()
	switch c.transport { // what ends them is that the carrier is closed
	case UDP:
		_ = s.ServeUDP(&announcer{PacketConn: c.packets, carrier: c, peers: make(map[string]bool)})
	case TCP:
		_ = s.ServeTCP(c)
	case TLS:
		_ = s.ServeTLS(c)
	}
}

// retire makes what is still to be sent through the carrier fail, once that is closed. sipgo handles what it has read in
// goroutines of its own; one that finds no connection in the pool would open one that nobody closes. sipgo removes the
// addresses of a connection only while they are the connection's, so this must come before sipgo knows that it is closed.
func (c *carrier) retire(addrs ...string) {
	for _, addr := range addrs {
		c.pool.Add(addr, retired{c.Addr()})
	}
}

// retired is the connection of a carrier that is closed.
type retired struct{ addr net.Addr }

func (r retired) LocalAddr() net.Addr { return r.addr }

func (retired) WriteMsg(sip.Message) error { return net.ErrClosed }

func (retired) Ref(int) int { return 1 }

func (retired) TryClose() (int, error) { return 1, nil }

func (retired) Close() error { return nil }

// close ends serve, and returns when sipgo uses a stream no more.
func (c *carrier) close() error {
	close(c.closed)
	if c.packets != nil {
		return c.packets.Close()
	}
	err := c.stream.Conn.Close()
	select {
	case <-c.ready:
		<-c.stream.left
	default: // sipgo was never given it
	}
	if errors.Is(err, net.ErrClosed) { // the server was faster
		return nil
	}
	return err
}

// stream is a connection that says when sipgo has closed it, and knows its ends even
// then, when some have forgotten them.
type stream struct {
	net.Conn
	local, remote net.Addr
	left          chan struct{}
	once          sync.Once
	retire        func(addrs ...string)
}

func connectStream(ctx context.Context, cfg Config, retire func(addrs ...string)) (*stream, error) {
	conn, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: conn, local: conn.LocalAddr(), remote: conn.RemoteAddr(), left: make(chan struct{}), retire: retire}, nil
}

func (s *stream) LocalAddr() net.Addr { return s.local }

func (s *stream) RemoteAddr() net.Addr { return s.remote }

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		s.retire(s.local.String(), s.remote.String())
	}
	return n, err
}

func (s *stream) Close() error {
	s.once.Do(func() { close(s.left) })
	return s.Conn.Close()
}

// announcer says when a socket is read, which sipgo does when it knows the socket.
type announcer struct {
	net.PacketConn
	carrier *carrier
	peers   map[string]bool // those heard
}

func (a *announcer) ReadFrom(b []byte) (int, net.Addr, error) {
	a.carrier.announce()
	n, peer, err := a.PacketConn.ReadFrom(b)
	if err != nil {
		a.carrier.retire(a.LocalAddr().String())
		a.carrier.retire(slices.Collect(maps.Keys(a.peers))...)
		return n, peer, err
	}
	a.peers[peer.String()] = true
	return n, peer, nil
}

// Accept, Close and Addr implement net.Listener, the only thing from which sipgo
// takes a connection that is there already. It is given this one, once.
func (c *carrier) Accept() (net.Conn, error) {
	if !c.accepted {
		c.accepted = true
		return c.stream, nil
	}
	c.announce()
	<-c.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (c *carrier) Close() error { return nil }

// Addr implements net.Listener.
func (c *carrier) Addr() net.Addr {
	if c.packets != nil {
		return c.packets.LocalAddr()
	}
	return c.stream.LocalAddr()
}
