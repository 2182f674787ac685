package tftpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/heartbeat"
	"github.com/sae-agent/sae-agent/internal/linksource"
	"github.com/sae-agent/sae-agent/internal/mmsg"
)

const (
	// receiveBuffer holds the requests of thousands of phones that start together.
	receiveBuffer = 8 << 20
	// sendBuffer holds what waits for ARP: three seconds of answers to all who may be strangers.
	sendBuffer = 4 << 20
	batchSize  = 64
	maxRequest = 2048
)

// message is a packet of TFTP. Each begins with four bytes that are its own; the rest may be a piece of a file that
// others are sent, too, and is not changed. The zero value is none.
type message struct {
	head [4]byte
	rest []byte
}

// whole is the message that a packet is, which has at least four bytes.
func whole(p []byte) message { return message{[4]byte(p), p[4:]} }

func (m message) none() bool { return m.head == [4]byte{} }

// outgoing is a message to a client.
type outgoing struct {
	message
	to netip.AddrPort
}

// conn is a UDP socket that receives and sends many packets at once. Sending never
// waits: packets for an address that answers no ARP would fill its buffer, and
// everybody would wait for them.
type conn struct {
	*net.UDPConn
	raw     syscall.RawConn
	batches sync.Pool    // of *mmsg.Batch, to send with
	unsent  func(n int)  // told of packets that the kernel did not take
	sends   atomic.Int64 // system calls so far
}

// listen opens a socket. The address may come later: the agent does not wait for
// a card.
func listen(ctx context.Context, addr netip.AddrPort, ifname string, unsent func(n int)) (*conn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
			if ifname != "" {
				err = errors.Join(err, unix.BindToDevice(int(fd), ifname))
			}
			enlarge(int(fd), unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
			enlarge(int(fd), unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
		})
		return errors.Join(cerr, err)
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", addr.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("tftpd: another program holds UDP port %d: stop it, ss -ulnp names it", addr.Port())
	}
	if err != nil {
		return nil, fmt.Errorf("tftpd: listen: %w", err)
	}
	udp := pc.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tftpd: listen: %w", err), udp.Close())
	}
	return &conn{UDPConn: udp, raw: raw, unsent: unsent}, nil
}

// enlarge sets a buffer's size, or as much of it as we may.
func enlarge(fd, force, option, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
	}
}

// receive calls packets with each batch of packets until the socket is closed. What
// they hold is valid until it returns.
func (c *conn) receive(ctx context.Context, beat *heartbeat.Loop, packets func([]incoming) error) error {
	beat.Begin(c)
	defer beat.End()
	in := mmsg.NewUDP4(batchSize)
	in.MakeRoom(maxRequest)
	batch := make([]incoming, 0, batchSize)
	for {
		n, err := in.Receive(c.raw)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if beat.Answered(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tftpd: receive: %w", err)
		}
		batch = batch[:0]
		for i := range n {
			batch = append(batch, incoming{in.Packet(i), in.From(i)})
		}
		if err := packets(batch); err != nil {
			return err
		}
	}
}

// neighbour returns the station that packets for an address go to.
func (c *conn) neighbour(ifname string, addr netip.Addr) (linksource.MAC, error) {
	return linksource.NeighbourBy(c.raw, ifname, addr)
}

// incoming is a packet of a client.
type incoming struct {
	data []byte
	from netip.AddrPort
}

// send sends packets. What the kernel does not take is as good as lost on the way.
func (c *conn) send(out []outgoing) {
	b, _ := c.batches.Get().(*mmsg.Batch)
	if b == nil {
		b = mmsg.NewUDP4(batchSize)
	}
	before, lost := b.Calls(), 0
	for chunk := range slices.Chunk(out, batchSize) {
		for i := range chunk {
			b.PutTo(i, chunk[i].to, chunk[i].head[:], chunk[i].rest)
		}
		sent, _ := b.Send(c.raw, len(chunk))
		lost += len(chunk) - sent
	}
	c.sends.Add(int64(b.Calls() - before))
	b.Clear()
	c.batches.Put(b)
	if lost > 0 {
		c.unsent(lost)
	}
}
