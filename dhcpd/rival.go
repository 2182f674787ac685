package dhcpd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	// searchTime is how long the answers of one search are waited for. A server
	// that probes an address before it offers it (isc-dhcpd) takes a second.
	searchTime = 4 * time.Second
	// silentEvery and servingEvery are how often other servers are searched for.
	silentEvery  = 30 * time.Second
	servingEvery = 10 * time.Minute
	// maxRivals bounds what a LAN full of forged answers can make us remember.
	maxRivals = 16
)

// searchAt is when a search asks, from its beginning: a single datagram may be lost.
var searchAt = []time.Duration{0, time.Second, 2 * time.Second}

// rivalConn sees every DHCP answer on the link, whoever it is for, and asks for
// them as a client that has just been plugged in.
type rivalConn struct {
	ifi  *net.Interface
	conn *packet.Conn
}

func openRivals(ifi *net.Interface) (*rivalConn, error) {
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, nil)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: packet socket on %s: %w", ifi.Name, err)
	}
	filter, err := bpf.Assemble(answersOnly)
	if err == nil {
		err = c.SetBPF(filter)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dhcpd: packet filter on %s: %w", ifi.Name, err)
	}
	return &rivalConn{ifi: ifi, conn: c}, nil
}

// answersOnly lets IPv4 UDP from port 67 to port 68 through, unfragmented.
var answersOnly = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 20, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 14},
	bpf.LoadIndirect{Off: 14, Size: 4},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort<<16 | clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: maxDatagram},
	bpf.RetConstant{Val: 0},
}

func (c *rivalConn) close() error { return c.conn.Close() }

// ask broadcasts a DISCOVER from our own MAC. It has the broadcast flag, so that
// a switch brings us the answer, and asks for no address to be kept.
func (c *rivalConn) ask() error {
	var xid dhcpv4.TransactionID
	_, _ = rand.Read(xid[:])
	m, err := dhcpv4.New(
		dhcpv4.WithTransactionID(xid), dhcpv4.WithHwAddr(c.ifi.HardwareAddr), dhcpv4.WithBroadcast(true),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask),
	)
	if err != nil {
		return err
	}
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	any4, broadcast := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	f := frame(c.ifi.HardwareAddr, all, any4, broadcast, clientPort, serverPort, m.ToBytes())
	_, err = c.conn.WriteTo(f, &packet.Addr{HardwareAddr: all})
	return err
}

// next returns the next server that answers on the link and is not this machine.
func (c *rivalConn) next() (Rival, error) {
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := c.conn.ReadFrom(buf)
		if err != nil {
			return Rival{}, err
		}
		if r, ok := parseAnswer(buf[:n]); ok && string(r.MAC) != string(c.ifi.HardwareAddr) {
			return r, nil
		}
	}
}

// parseAnswer reads who sent a DHCP answer from its Ethernet frame.
func parseAnswer(f []byte) (Rival, bool) {
	const eth, udp = 14, 8
	if len(f) < eth+20 {
		return Rival{}, false
	}
	head := int(f[eth]&15) * 4
	if len(f) < eth+head+udp || head < 20 || binary.BigEndian.Uint16(f[eth+head:]) != serverPort {
		return Rival{}, false
	}
	m, err := dhcpv4.FromBytes(f[eth+head+udp:])
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply {
		return Rival{}, false
	}
	id := m.Options.Get(dhcpv4.OptionServerIdentifier)
	if id == nil {
		id = f[eth+12 : eth+16]
	}
	addr, ok := netip.AddrFromSlice(id)
	if !ok || !addr.Is4() {
		return Rival{}, false
	}
	return Rival{ServerID: addr, MAC: append(net.HardwareAddr(nil), f[6:12]...)}, true
}

// watchRivals lets the server serve when no other server answers, and makes it
// silent when one does. Answers that others get on this link count as well,
// asked for or not.
func (s *Server) watchRivals(ctx context.Context, c *rivalConn) error {
	if s.plan().Force {
		s.setServing("")
		<-ctx.Done()
		return nil
	}
	heard := make(chan error, 1)
	go func() { heard <- s.hearRivals(ctx, c) }()
	for {
		s.setReason("asking whether another DHCP server is on this LAN")
		begun := s.opts.Wall()
		if err := s.search(ctx, c); err != nil {
			return err
		}
		if ctx.Err() == nil {
			s.judge(begun)
		}
		pause := servingEvery
		if !s.Status().Serving {
			pause = silentEvery
		}
		next := time.NewTimer(pause + mrand.N(pause/4)) // two of us that start together must not ask together for ever
		select {
		case <-ctx.Done():
			return nil
		case err := <-heard:
			return err
		case <-s.suspect:
		case <-next.C:
		}
		next.Stop()
	}
}

// suspectRival has other servers searched for at once, because a client has
// taken the offer of one. Answers to others may pass us by on a switch, but such
// a REQUEST is broadcast. The caller holds s.mu.
func (s *Server) suspectRival(q query, now time.Time) {
	if !q.serverID.IsValid() || q.serverID == s.table.plan.ServerID || q.MessageType() != dhcpv4.MessageTypeRequest {
		return
	}
	if now.Sub(s.suspected) < time.Minute {
		return // a search takes seconds, and anybody can forge such a message
	}
	s.suspected = now
	select {
	case s.suspect <- struct{}{}:
	default:
	}
}

// search asks for other servers and waits for answers.
func (s *Server) search(ctx context.Context, c *rivalConn) error {
	start := time.Now()
	for _, at := range append(searchAt[:len(searchAt):len(searchAt)], searchTime) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(start.Add(at))):
		}
		if at == searchTime {
			return nil
		}
		if err := c.ask(); err != nil {
			return fmt.Errorf("dhcpd: ask for other servers on %s: %w", c.ifi.Name, err)
		}
	}
	return nil
}

// judge forgets the servers that have not answered since the search began, and
// serves if none is left.
func (s *Server) judge(begun time.Time) {
	s.mu.Lock()
	for id, r := range s.rivals {
		if r.Seen.Before(begun) {
			delete(s.rivals, id)
		}
	}
	alone := len(s.rivals) == 0
	s.unlock()
	if alone {
		s.setServing("")
	}
}

func (s *Server) hearRivals(ctx context.Context, c *rivalConn) error {
	for {
		r, err := c.next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcpd: hear other servers on %s: %w", c.ifi.Name, err)
		}
		s.rivalSeen(r)
	}
}

// rivalSeen makes the server silent at once.
func (s *Server) rivalSeen(r Rival) {
	r.Seen = s.opts.Wall()
	s.mu.Lock()
	_, known := s.rivals[r.ServerID]
	if known || len(s.rivals) < maxRivals {
		s.rivals[r.ServerID] = r
	}
	s.unlock()
	s.setServing(fmt.Sprintf("another DHCP server answers on this LAN: %v (%v)", r.ServerID, r.MAC))
	if !known {
		s.tell(&Event{Type: EventRival, MAC: r.MAC, Addr: r.ServerID})
	}
}

// setServing lets the server answer, or not for the reason given.
func (s *Server) setServing(why string) {
	s.mu.Lock()
	changed := s.serving != (why == "") || s.reason != why
	s.serving, s.reason = why == "", why
	s.unlock()
	switch {
	case !changed:
	case why == "":
		s.log.Info("serving DHCP")
	default:
		s.log.Warn("not serving DHCP", "reason", why)
	}
}

// setReason says why the server is silent at first; it changes nothing once
// there is a verdict.
func (s *Server) setReason(why string) {
	s.mu.Lock()
	defer s.unlock()
	if !s.serving && len(s.rivals) == 0 {
		s.reason = why
	}
}
