package sipcall

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// busySocket always has another request of the server's to read, until it is closed.
type busySocket struct {
	net.PacketConn
	server net.Addr
	n      int
	closed atomic.Bool
}

func (s *busySocket) ReadFrom(b []byte) (int, net.Addr, error) {
	if s.closed.Load() {
		return 0, nil, net.ErrClosed
	}
	s.n++
	n := copy(b, fmt.Sprintf("OPTIONS sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK%[2]d\r\n"+
		"From: <sip:server@127.0.0.1>;tag=a\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: %[2]d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", s.server, s.n))
	return n, s.server, nil
}

func (s *busySocket) Close() error {
	s.closed.Store(true)
	return s.PacketConn.Close()
}

// What sipgo has read of a socket, it handles in goroutines of its own, also after the phone is switched off.
func TestCloseWhileServerAsks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for range 3 {
		server := net.UDPAddrFromAddrPort(freePort(t))
		var phones sync.WaitGroup
		for range 4 {
			phones.Go(func() {
				p, err := New(t.Context(), Config{
					Server: server.AddrPort(), Number: "100",
					Listen: func(port uint16) (net.PacketConn, error) {
						conn, err := listenUDP(port)
						return &busySocket{PacketConn: conn, server: server}, err
					},
				})
				if err != nil {
					t.Error(err)
					return
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		phones.Wait()
	}
	goleak.VerifyNone(t, before)
}
