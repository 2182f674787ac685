package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// probe is one packet that is sent, and whether the other end may get it. No
// server is needed: an end that gets a packet for a closed port says so, by RST or
// by ICMP, and a packet that is dropped is answered by nothing.
type probe struct {
	from     *labtest.Host
	source   string // one of from's addresses; empty: the usual one
	to       string
	protocol string
	port     int
}

func (p probe) String() string {
	from := p.from.Name()
	if p.source != "" {
		from += " (" + p.source + ")"
	}
	return fmt.Sprintf("%s to %s %s/%d", from, p.to, p.protocol, p.port)
}

// open sends the probe's first packet.
func (p probe) open() (fd int, err error) {
	to := netip.MustParseAddr(p.to)
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Is6() {
		family = unix.AF_INET6
	}
	if p.protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	err = p.from.Host.Do(func() error {
		if fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if p.source != "" {
			if err := unix.Bind(fd, sockaddr(netip.MustParseAddr(p.source), 0)); err != nil {
				return err
			}
		}
		if err := unix.Connect(fd, sockaddr(to, p.port)); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		if p.protocol == "udp" {
			_, err := unix.Write(fd, []byte("x"))
			return err
		}
		return nil
	})
	return fd, err
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// answered waits up to d for the other end to say something.
func answered(fd int, d time.Duration) bool {
	deadline := time.Now().Add(d)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
		kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if kind == unix.SOCK_DGRAM { // which is writable at once
			fds[0].Events = unix.POLLIN
		}
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n > 0
	}
}

// passes reports whether the probe gets through. When it should not, marker, which
// does, is sent after it on the same way: once that is answered, the probe is lost.
func passes(t *testing.T, p probe, expect bool, marker probe) bool {
	t.Helper()
	fd, err := p.open()
	if err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	defer unix.Close(fd)
	if expect {
		return reached(fd, p.protocol)
	}
	second, err := marker.open()
	if err != nil {
		t.Fatalf("%v: %v", marker, err)
	}
	defer unix.Close(second)
	if !answered(second, 20*time.Second) {
		t.Fatalf("the marker after %v is not answered: %v", p, marker)
	}
	return answered(fd, 0)
}

// reached waits for an answer. A datagram is sent again and again, for the kernel
// sends few "port unreachable" in a row.
func reached(fd int, protocol string) bool {
	for range 20 {
		if answered(fd, time.Second) {
			return true
		}
		if protocol == "udp" {
			_, _ = unix.Write(fd, []byte("x")) // an error is the answer that comes next
		}
	}
	return false
}

// listen accepts connections on a host until the test ends.
func listen(t *testing.T, h *labtest.Host, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	h.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	return l
}
