package sim

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// socket is a UDP port of a host. It implements net.PacketConn, without deadlines.
type socket struct {
	host   *host
	port   uint16
	in     <-chan datagram
	closed context.Context
	close  func()
}

// socket opens a port, in the place of what was open there.
func (h *host) socket(port uint16) *socket {
	ctx, cancel := context.WithCancel(context.Background())
	return &socket{host: h, port: port, in: h.listen(port), closed: ctx, close: sync.OnceFunc(func() {
		cancel()
		h.unlisten(port)
	})}
}

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.in:
		return copy(b, d.payload), net.UDPAddrFromAddrPort(d.src), nil
	case <-s.closed.Done():
		return 0, nil, net.ErrClosed
	}
}

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: errors.New("not a UDP address")}
	}
	dst := udp.AddrPort()
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if err := s.host.sendUDP(s.closed, s.port, dst, b); err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: err}
	}
	return len(b), nil
}

func (s *socket) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.host.address(), s.port))
}

func (s *socket) Close() error {
	s.close()
	return nil
}

func (s *socket) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *socket) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *socket) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
