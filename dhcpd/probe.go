package dhcpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/mmsg"
)

const (
	// probeWait is how long an OFFER waits for somebody to claim its address.
	probeWait = 100 * time.Millisecond
	// maxWaiting bounds the OFFERs that wait. A client whose OFFER finds no place asks again.
	maxWaiting = 8192
	// maxVerify bounds the addresses to look for that no OFFER waits for, and
	// verifyEach how many of them a sweep takes: anybody can cause these probes.
	maxVerify  = 64
	verifyEach = 4
	// doubtFor is how long an address may be shown in use after its client declined it.
	doubtFor = 5 * time.Second
)

// waitingOffer is an OFFER that leaves when nobody has claimed its address.
type waitingOffer struct {
	query query
	out   outgoing // without a reply: the query is decided about again
	addr  netip.Addr
	asked bool
	due   time.Time
}

// arpConn sends ARP probes and hears the answers.
type arpConn struct {
	ifi  *net.Interface
	conn *packet.Conn
	fd   syscall.RawConn
	out  *mmsg.Batch
	// frames are of the probes, written over by the next ones.
	frames [batchSize][]byte
}

func openARP(ifi *net.Interface) (*arpConn, error) {
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: ARP socket on %s: %w", ifi.Name, err)
	}
	fd, err := c.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dhcpd: ARP socket on %s: %w", ifi.Name, err), c.Close())
	}
	return &arpConn{ifi: ifi, conn: c, fd: fd, out: mmsg.New(batchSize)}, nil
}

func (a *arpConn) close() error { return a.conn.Close() }

// probe asks who has each address, without an address of our own (RFC 5227 2.1.1).
func (a *arpConn) probe(addrs []netip.Addr) error {
	var err error
	for chunk := range slices.Chunk(addrs, batchSize) {
		for i, addr := range chunk {
			a.frames[i] = probeFrame(a.frames[i], mac(a.ifi.HardwareAddr), addr)
			a.out.Put(i, a.frames[i])
		}
		_, e := a.out.Send(a.fd, len(chunk))
		err = errors.Join(err, e)
	}
	return err
}

// probeFrame is an ARP request to everybody from nobody, written over an earlier one.
func probeFrame(f []byte, from mac, addr netip.Addr) []byte {
	if f == nil {
		f = make([]byte, ethLen+28)
	}
	copy(f, broadcastMAC[:])
	copy(f[6:], from[:])
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_ARP)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4, 0, byte(arp.OperationRequest)}) // Ethernet and IPv4
	copy(f[22:], from[:])
	target := addr.As4()
	copy(f[38:], target[:])
	return f
}

// next returns the next claim of an address by another machine.
func (a *arpConn) next() (netip.Addr, net.HardwareAddr, error) {
	buf := make([]byte, 256)
	for {
		n, _, err := a.conn.ReadFrom(buf)
		if err != nil {
			return netip.Addr{}, nil, err
		}
		var p arp.Packet
		if n < 14 || p.UnmarshalBinary(buf[14:n]) != nil || p.Operation != arp.OperationReply {
			continue
		}
		if p.SenderIP.Is4() && string(p.SenderHardwareAddr) != string(a.ifi.HardwareAddr) {
			return p.SenderIP, p.SenderHardwareAddr, nil
		}
	}
}

// wait keeps an OFFER back until its address was looked for. The caller holds s.mu.
func (s *Server) wait(a netip.Addr, q query, out outgoing) {
	if w := s.waiting[a]; w != nil {
		w.out = out // the client asked again; one answer is enough
		return
	}
	if len(s.waiting) >= maxWaiting {
		s.metrics.drop(dropOverload)
		return
	}
	w := &waitingOffer{query: q.clone(), out: out, addr: a}
	s.waiting[a] = w
	s.parked = append(s.parked, w)
	s.probeWake.Notify()
}

// probeLoop looks for addresses on the LAN: those that an OFFER waits for at
// once and all together, the others slowly, ahead of need.
func (s *Server) probeLoop(ctx context.Context, a *arpConn) error {
	heard := make(chan error, 1)
	go func() { heard <- s.hearClaims(ctx, a) }()
	sweep, release := time.NewTimer(0), time.NewTimer(time.Hour)
	defer sweep.Stop()
	defer release.Stop()
	for {
		select {
		case err := <-heard:
			return err
		case <-s.probeWake.C():
			s.probeWaiting(a)
			release.Reset(s.releaseOffers())
		case <-release.C:
			release.Reset(s.releaseOffers())
		case <-sweep.C:
			sweep.Reset(s.sweep(a))
		}
	}
}

// probeWaiting sends a probe for every OFFER that has none yet.
func (s *Server) probeWaiting(a *arpConn) {
	s.mu.Lock()
	due := s.clock.now().Add(probeWait)
	var ask []netip.Addr
	for i := len(s.parked) - 1; i >= 0 && !s.parked[i].asked; i-- {
		s.parked[i].asked, s.parked[i].due = true, due
		ask = append(ask, s.parked[i].addr)
	}
	s.unlock()
	s.probe(a, ask)
}

func (s *Server) probe(a *arpConn, addrs []netip.Addr) {
	if err := a.probe(addrs); err != nil {
		s.log.Debug("cannot send ARP probes", "addresses", len(addrs), "err", err)
	}
}

// releaseOffers lets the OFFERs leave whose addresses nobody claimed in time,
// and returns how long until the next is due.
func (s *Server) releaseOffers() time.Duration {
	var out []outgoing
	s.mu.Lock()
	now := s.clock.now()
	for len(s.parked) > 0 && s.parked[0].asked && !s.parked[0].due.After(now) {
		w := s.parked[0]
		s.parked[0] = nil
		s.parked = s.parked[1:]
		if s.waiting[w.addr] != w {
			continue // claimed
		}
		delete(s.waiting, w.addr)
		if r := s.table.byAddr[w.addr]; r != nil {
			r.checked = now
		}
		if w.out.reply != nil {
			out = append(out, w.out)
		} else {
			out = s.decide(out, now, w.query)
		}
	}
	next := probeWait
	if len(s.parked) > 0 && s.parked[0].asked {
		next = max(s.parked[0].due.Sub(now), time.Millisecond)
	}
	s.unlock()
	s.sendAll(out)
	return next
}

// sweep keeps a stock of free addresses that nobody answers for, from the start on,
// and returns when to do so again. Behind a relay nobody would hear us ask.
func (s *Server) sweep(a *arpConn) time.Duration {
	s.mu.Lock()
	k := &s.table.stock
	ask := k.sweep(s.clock.now(), s.table.pools[0], len(s.waiting))
	n := min(verifyEach, len(s.verify))
	ask = append(ask, s.verify[:n]...)
	s.verify = append(s.verify[:0], s.verify[n:]...)
	busy := k.busy(s.table.pools[0], len(s.waiting))
	s.unlock()
	s.probe(a, ask)
	if busy {
		return busyEvery
	}
	return sweepEvery
}

// hearClaims takes addresses out of use that other machines answer for.
func (s *Server) hearClaims(ctx context.Context, a *arpConn) error {
	for {
		addr, hw, err := a.next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcpd: hear ARP on %s: %w", a.ifi.Name, err)
		}
		s.claimed(addr, hw)
	}
}

// claimed takes an address out of use that a machine answers for, unless it is
// the address's client.
func (s *Server) claimed(addr netip.Addr, hw net.HardwareAddr) {
	m, ok := toMAC(hw)
	if !ok {
		return
	}
	now := s.clock.now()
	s.mu.Lock()
	out := s.conflict(now, addr, m)
	s.unlock()
	s.sendAll(out)
}

// conflict is claimed under s.mu. It returns what may leave at once.
func (s *Server) conflict(now time.Time, addr netip.Addr, claimer mac) []outgoing {
	t := s.table
	r := t.byAddr[addr]
	w := s.waiting[addr]
	switch {
	case addr == t.plan.ServerID || r != nil && r.owner == claimer:
		return nil
	case r == nil && !t.plan.dynamic(addr):
		return nil
	case r != nil && (r.State.outOfUse() || r.State == StateBound && w == nil):
		return s.conflictOfLease(now, addr, r, claimer)
	}
	state, ok := t.stateFound(addr, claimer, now.Before(s.recover))
	if !ok {
		return nil // who answers for everything only wants to empty the pool
	}
	delete(s.waiting, addr)
	found := &record{Lease: Lease{Addr: addr, MAC: claimer.hw(), State: state}, owner: claimer}
	if r != nil {
		found.disk = r.disk
		t.forget(r)
	}
	t.put(found)
	e := t.foundEvent(found)
	if state == StateDeclined {
		s.metrics.conflicts.Inc()
	}
	t.set(found, state, now.Add(declineTime))
	s.queue.add(pendingCommit{record: found, gen: found.gen, lease: found.Lease, out: outgoing{event: e}})
	if w == nil {
		return nil
	}
	return s.decide(nil, now, w.query) // another address for who was about to get this one
}

// conflictOfLease tells, once a claimer, that somebody else has a leased address too.
func (s *Server) conflictOfLease(now time.Time, addr netip.Addr, r *record, claimer mac) []outgoing {
	if r.State == StateBound && now.Sub(r.doubted) < doubtFor && !s.table.quarantineFull() {
		e := Event{Type: EventConflict, MAC: claimer.hw(), Addr: addr, Detail: "declined by " + r.MAC.String() + ", answers to ARP"}
		s.metrics.conflicts.Inc()
		d := s.table.quarantine(now, r, e)
		s.queue.add(pendingCommit{record: r, gen: d.gen, lease: d.lease, out: outgoing{event: e}})
		return nil
	}
	if r.State != StateBound || r.claimer == claimer {
		return nil
	}
	r.claimer = claimer
	s.metrics.conflicts.Inc()
	return []outgoing{{event: Event{
		Type: EventConflict, MAC: claimer.hw(), Addr: addr, Detail: "answers to ARP for the address of " + r.MAC.String(),
	}}}
}
