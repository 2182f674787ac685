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

	"github.com/sae-agent/sae-agent/internal/heartbeat"
	"github.com/sae-agent/sae-agent/internal/linksource"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer holds the requests of thousands of phones that start together.
	receiveBuffer = 8 << 20
	// sendBuffer holds what waits for ARP: three seconds of answers to all who may be strangers.
	sendBuffer = 4 << 20
	batchSize  = 64
	maxRequest = 2048
)

// outgoing is a packet to a client.
type outgoing struct {
	data []byte
	to   netip.AddrPort
}

// conn is a UDP socket that receives and sends many packets at once. Sending never
// waits: packets for an address that answers no ARP would fill its buffer, and
// everybody would wait for them.
type conn struct {
	*net.UDPConn
	raw     syscall.RawConn
	batch   *ipv4.PacketConn
	buffers sync.Pool    // of *sendBuffers
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
	return &conn{UDPConn: udp, raw: raw, batch: ipv4.NewPacketConn(udp), unsent: unsent}, nil
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
	in := make([]ipv4.Message, batchSize)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, maxRequest)}
	}
	batch := make([]incoming, 0, batchSize)
	for {
		n, err := c.batch.ReadBatch(in, 0)
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
		for _, m := range in[:n] {
			from := m.Addr.(*net.UDPAddr).AddrPort()
			batch = append(batch, incoming{m.Buffers[0][:m.N], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())})
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

// sendBuffers are what one call of send needs, to be used again.
type sendBuffers struct {
	messages [batchSize]ipv4.Message
	data     [batchSize][1][]byte
	addrs    [batchSize]net.UDPAddr
	ips      [batchSize][4]byte
}

// fill makes messages of the packets, of which there are no more than batchSize.
func (b *sendBuffers) fill(out []outgoing) []ipv4.Message {
	for i, o := range out {
		b.data[i][0], b.ips[i] = o.data, o.to.Addr().As4()
		b.addrs[i] = net.UDPAddr{IP: b.ips[i][:], Port: int(o.to.Port())}
		b.messages[i] = ipv4.Message{Buffers: b.data[i][:], Addr: &b.addrs[i]}
	}
	return b.messages[:len(out)]
}

// send sends packets. What the kernel does not take is as good as lost on the way.
func (c *conn) send(out []outgoing) {
	b, _ := c.buffers.Get().(*sendBuffers)
	if b == nil {
		b = new(sendBuffers)
	}
	lost := 0
	for chunk := range slices.Chunk(out, batchSize) {
		for messages := b.fill(chunk); len(messages) > 0; {
			c.sends.Add(1)
			n, err := c.batch.WriteBatch(messages, unix.MSG_DONTWAIT)
			if err != nil || n <= 0 {
				n = 1 // one client that cannot be reached must not stop the others
				lost++
			}
			messages = messages[n:]
		}
		clear(b.data[:]) // keeps no packet
	}
	c.buffers.Put(b)
	if lost > 0 {
		c.unsent(lost)
	}
}
