// Package dhcpload measures how many DHCP four-way exchanges (DISCOVER, OFFER,
// REQUEST, ACK) per second a server completes for a fixed number of clients that
// are busy at the same time: a closed loop, the next client starts when one is done.
// It also renews leases, and asks for nothing but options (INFORM).
//
// It speaks as a relay agent does (RFC 2131 section 4.1: giaddr set, unicast between
// the ports 67), so that any server answers to an ordinary socket and all take the
// same path. One socket, batched system calls and packets made by patching bytes
// keep its own share of the machine small.
package dhcpload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Kind is what a client does.
type Kind int

// Kinds of clients.
const (
	Boot   Kind = iota // DISCOVER, OFFER, REQUEST, ACK
	Renew              // REQUEST, ACK of the address that it has
	Inform             // INFORM, ACK; all have the relay's address, since only who has an address is answered
)

// Config of one run.
type Config struct {
	Kind     Kind
	Held     netip.Addr    // Renew: the address of client 0; the others have those that follow
	Relay    netip.Addr    // our own address, giaddr; names the subnet to the server
	Server   netip.Addr    // where requests go, port 67
	First    int           // number of the first client; a client's number is in its MAC
	Clients  int           // how many clients take turns
	InFlight int           // exchanges under way at the same time, at most 65,536
	Count    int           // end after so many exchanges; 0: run for Duration
	Duration time.Duration // of the measurement, or its limit when Count is set
	Patience time.Duration // until an unanswered message is sent again
}

// Result of one run. Times are in nanoseconds.
type Result struct {
	Done       int           // complete exchanges
	Naks       int           // requests refused
	Repeats    int           // messages sent again for want of an answer
	Duplicates int           // addresses given to two clients: must be 0
	Elapsed    time.Duration // from the first message to the last answer counted
	P50, P99   time.Duration // of a whole exchange
}

// Rate returns exchanges per second.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Done) / r.Elapsed.Seconds()
}

const (
	batch      = 64
	bufferSize = 32 << 20
	tick       = 20 * time.Millisecond // between looks for unanswered messages
)

// slot is one exchange under way.
type slot struct {
	client int
	packet []byte
	xid    uint32
	begun  time.Time
	sent   time.Time
}

type run struct {
	cfg     Config
	udp     *net.UDPConn
	conn    *ipv4.PacketConn
	to      *net.UDPAddr
	slots   []slot
	next    int // clients started
	owner   map[[4]byte]int
	took    []time.Duration
	result  Result
	pending []ipv4.Message // to be sent with the next system call
}

// Run measures. It must be called in the network namespace of the relay.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Clients < cfg.InFlight || cfg.InFlight < 1 || cfg.InFlight > 1<<16 {
		return Result{}, fmt.Errorf("dhcpload: %d in flight among %d clients", cfg.InFlight, cfg.Clients)
	}
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Relay, 67)))
	if err != nil {
		return Result{}, fmt.Errorf("dhcpload: %w", err)
	}
	defer udp.Close()
	if err := forceBuffer(udp); err != nil {
		return Result{}, fmt.Errorf("dhcpload: receive buffer (root is needed): %w", err)
	}
	r := &run{
		cfg:   cfg,
		udp:   udp,
		conn:  ipv4.NewPacketConn(udp),
		to:    net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Server, 67)),
		slots: make([]slot, cfg.InFlight),
		owner: make(map[[4]byte]int, cfg.Clients),
	}
	if err := r.loop(ctx); err != nil {
		return Result{}, fmt.Errorf("dhcpload: %w", err)
	}
	slices.Sort(r.took)
	if n := len(r.took); n > 0 {
		r.result.P50, r.result.P99 = r.took[n/2], r.took[n*99/100]
	}
	return r.result, nil
}

func (r *run) loop(ctx context.Context) error {
	start := time.Now()
	for i := range r.slots {
		r.start(i, start)
	}
	if err := r.flush(); err != nil {
		return err
	}
	in := make([]ipv4.Message, batch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 1500)}
	}
	looked := start.Add(-tick)
	for ctx.Err() == nil {
		now := time.Now()
		if now.Sub(looked) >= tick {
			looked = now
			r.repeat(now)
			if err := r.flush(); err != nil {
				return err
			}
			if err := r.udp.SetReadDeadline(now.Add(tick)); err != nil {
				return err
			}
		}
		if r.result.Elapsed = now.Sub(start); r.result.Elapsed >= r.cfg.Duration {
			return nil
		}
		n, err := r.conn.ReadBatch(in, 0)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		now = time.Now()
		for _, m := range in[:max(n, 0)] {
			r.handle(m.Buffers[0][:m.N], now)
		}
		if r.cfg.Count > 0 && r.result.Done >= r.cfg.Count {
			r.result.Elapsed = now.Sub(start)
			return nil
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// start begins the exchange of the next client in slot i.
func (r *run) start(i int, now time.Time) {
	s := &r.slots[i]
	s.client = r.cfg.First + r.next%r.cfg.Clients
	s.xid = uint32(r.next/len(r.slots)+1)<<16 | uint32(i)
	s.begun = now
	switch r.cfg.Kind {
	case Renew:
		s.packet = message(s.packet, request, s.client, s.xid, r.cfg.Relay, r.held(s.client))
	case Inform:
		s.packet = message(s.packet, inform, s.client, s.xid, r.cfg.Relay, r.cfg.Relay.As4())
	default:
		s.packet = message(s.packet, discover, s.client, s.xid, r.cfg.Relay, [4]byte{})
	}
	r.next++
	r.send(s, now)
}

// held is the address that a client has already.
func (r *run) held(client int) (a [4]byte) {
	first := r.cfg.Held.As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(first[:])+uint32(client))
	return a
}

func (r *run) send(s *slot, now time.Time) {
	s.sent = now
	r.pending = append(r.pending, ipv4.Message{Buffers: [][]byte{s.packet}, Addr: r.to})
}

func (r *run) repeat(now time.Time) {
	for i := range r.slots {
		if s := &r.slots[i]; now.Sub(s.sent) >= r.cfg.Patience {
			r.result.Repeats++
			r.send(s, now)
		}
	}
}

func (r *run) flush() error {
	for out := r.pending; len(out) > 0; {
		n, err := r.conn.WriteBatch(out[:min(len(out), batch)], 0)
		switch {
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOBUFS):
			n = max(n, 1) // lost, like any datagram
		case err != nil:
			return err
		}
		out = out[n:]
	}
	r.pending = r.pending[:0]
	return nil
}

func (r *run) handle(packet []byte, now time.Time) {
	a, ok := parseAnswer(packet)
	if !ok || int(a.xid&0xffff) >= len(r.slots) {
		return
	}
	i := int(a.xid & 0xffff)
	s := &r.slots[i]
	if s.xid != a.xid { // an answer to a message that was repeated
		return
	}
	asking := s.packet[typeAt] != discover
	switch {
	case a.kind == offer && !asking:
		s.packet = requestFor(s.packet, a)
		r.send(s, now)
	case a.kind == ack && asking:
		r.result.Done++
		if client, taken := r.owner[a.yours]; taken && client != s.client && r.cfg.Kind != Inform {
			r.result.Duplicates++
		}
		r.owner[a.yours] = s.client
		r.took = append(r.took, now.Sub(s.begun))
		r.start(i, now)
	case a.kind == nak && asking:
		r.result.Naks++
		r.start(i, now)
	}
}

// forceBuffer makes room for answers beyond the limit of ordinary users: what the
// generator loses would be blamed on the server.
func forceBuffer(udp *net.UDPConn) error {
	raw, err := udp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize)
	})
	return errors.Join(err, set)
}

// MAC returns the hardware address of client n, one of Yealink's.
func MAC(n int) net.HardwareAddr {
	return net.HardwareAddr{0x00, 0x15, 0x65, byte(n >> 16), byte(n >> 8), byte(n)}
}

// FirstOffer sends DISCOVERs of one client until the server makes an offer, and
// returns when that came. It tells when a server that was just started is up, and how
// long a newcomer waits.
func FirstOffer(ctx context.Context, relay, server netip.Addr, client int) (time.Time, error) {
	udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(relay, 67)))
	if err != nil {
		return time.Time{}, fmt.Errorf("dhcpload: %w", err)
	}
	defer udp.Close()
	const every = 2 * time.Millisecond
	buf := make([]byte, 1500)
	for xid := uint32(1); ; xid++ {
		if ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("dhcpload: no offer: %w", ctx.Err())
		}
		// Without a server the kernel refuses by ICMP: as good as no answer.
		_, _ = udp.WriteToUDPAddrPort(message(nil, discover, client, xid, relay, [4]byte{}), netip.AddrPortFrom(server, 67))
		if err := udp.SetReadDeadline(time.Now().Add(every)); err != nil {
			return time.Time{}, fmt.Errorf("dhcpload: %w", err)
		}
		for {
			n, err := udp.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if a, ok := parseAnswer(buf[:max(n, 0)]); err == nil && ok && a.kind == offer {
				return time.Now(), nil
			}
		}
	}
}
