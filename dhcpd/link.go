package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/mmsg"
)

const (
	serverPort = 67
	clientPort = 68
	// receiveBuffer holds the first messages of several thousand clients that get
	// power at the same instant. What overflows it is repeated seconds later.
	receiveBuffer = 16 << 20
	// sendBuffer holds the answers to them. What does not fit is dropped and counted:
	// sending never waits.
	sendBuffer  = 8 << 20
	batchSize   = 64
	maxDatagram = 2048
	maxFrame    = maxDatagram
)

// link is the server's sockets on its interface. Messages come and go as frames: the
// frame's source is where an answer goes, and no answer waits for ARP.
type link struct {
	ifi *net.Interface
	src netip.Addr
	// udp holds port 67, so that a second server is noticed and the kernel does not
	// call the port closed. It hears nothing.
	udp *net.UDPConn
	raw *packet.Conn
	fd  syscall.RawConn
	in  *mmsg.Batch

	mu  sync.Mutex // guards the following
	out *mmsg.Batch
}

func openLink(ctx context.Context, name string, src netip.Addr) (*link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: interface %s: %w", name, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return holdPort(c, name) }}
	pc, err := lc.ListenPacket(ctx, "udp4", ":67")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("dhcpd: another program holds UDP port 67 on %s: stop it, ss -ulnp names it", name)
	}
	if err != nil {
		return nil, fmt.Errorf("dhcpd: listen: %w", err)
	}
	l := &link{ifi: ifi, src: src, udp: pc.(*net.UDPConn), in: mmsg.New(batchSize), out: mmsg.New(batchSize)}
	l.in.MakeRoom(maxFrame)
	if err := l.openRaw(); err != nil {
		return nil, errors.Join(fmt.Errorf("dhcpd: packet socket on %s: %w", name, err), l.udp.Close())
	}
	return l, nil
}

func (l *link) openRaw() error {
	filter, err := bpf.Assemble(questionsOnly)
	if err != nil {
		return err
	}
	if l.raw, err = packet.Listen(l.ifi, packet.Raw, unix.ETH_P_IP, &packet.Config{Filter: filter}); err != nil {
		return err
	}
	if l.fd, err = l.raw.SyscallConn(); err == nil {
		err = l.fd.Control(func(fd uintptr) {
			growBuffer(int(fd), unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
			growBuffer(int(fd), unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
		})
	}
	if err != nil {
		return errors.Join(err, l.raw.Close())
	}
	return nil
}

// holdPort prepares the socket that holds port 67 on one interface.
func holdPort(c syscall.RawConn, ifname string) error {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(nothing))
	for i, n := range nothing {
		filter[i] = unix.SockFilter{Code: n.Op, Jt: n.Jt, Jf: n.Jf, K: n.K}
	}
	cerr := c.Control(func(fd uintptr) {
		// The address alone may be shared with a server on another interface, the
		// interface may not: no SO_REUSEPORT, so that a second server is noticed.
		err = errors.Join(
			unix.BindToDevice(int(fd), ifname),
			unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		)
	})
	return errors.Join(cerr, err)
}

// growBuffer sets a socket's buffer, as far as we may.
func growBuffer(fd, force, option, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
	}
}

func (l *link) close() error { return errors.Join(l.udp.Close(), l.raw.Close()) }

// receive waits for frames and passes each to fn; a frame is valid only there.
func (l *link) receive(fn func(frame []byte)) error {
	n, err := l.in.Receive(l.fd)
	for i := range n {
		fn(l.in.Packet(i))
	}
	return err
}

// send sends replies and returns how many the kernel did not take. It never waits:
// what the kernel has no room for is lost, and asked for again by its client.
func (l *link) send(all []outgoing) (lost int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	flush := func() {
		sent, e := l.out.Send(l.fd, n)
		lost, err, n = lost+n-sent, errors.Join(err, e), 0
	}
	for _, o := range all {
		if r := o.reply; r != nil {
			sealFrame(r.frame, mac(l.ifi.HardwareAddr), r.to, l.src, r.addr, serverPort, r.port)
			l.out.Put(n, r.frame)
			n++
		}
		if n == batchSize {
			flush()
		}
	}
	if n > 0 {
		flush()
	}
	return lost, err
}
