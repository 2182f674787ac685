package dhcpd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	// probeWait is how long an OFFER waits for somebody to claim its address.
	probeWait = 100 * time.Millisecond
	// cleanFor is how long an address that nobody claimed counts as unused.
	cleanFor = 10 * time.Minute
	// maxWaiting bounds the OFFERs that wait. A client whose OFFER finds no place asks again.
	maxWaiting = 4096
	// stock is how many addresses are looked for ahead of need, so that newcomers
	// do not wait: the whole of a usual pool.
	stock = 1024
)

// waitingOffer is an OFFER that leaves when nobody has claimed its address.
type waitingOffer struct {
	query query
	out   outgoing
	due   time.Time
}

// arpConn sends ARP probes and hears the answers.
type arpConn struct {
	ifi  *net.Interface
	conn *packet.Conn
}

func openARP(ifi *net.Interface) (*arpConn, error) {
	c, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: ARP socket on %s: %w", ifi.Name, err)
	}
	return &arpConn{ifi: ifi, conn: c}, nil
}

func (a *arpConn) close() error { return a.conn.Close() }

// probe asks who has addr, without an address of our own (RFC 5227 2.1.1).
func (a *arpConn) probe(addr netip.Addr) error {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	p, err := arp.NewPacket(arp.OperationRequest, a.ifi.HardwareAddr, netip.IPv4Unspecified(), make(net.HardwareAddr, 6), addr)
	if err != nil {
		return err
	}
	body, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	f := make([]byte, 0, 14+len(body))
	f = append(f, broadcast...)
	f = append(f, a.ifi.HardwareAddr...)
	f = append(f, 0x08, 0x06)
	_, err = a.conn.WriteTo(append(f, body...), &packet.Addr{HardwareAddr: broadcast})
	return err
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

// isClean reports whether an address was looked for lately. Beside a rival every
// address is looked for, since the rival gives out some too. The caller holds s.mu.
func (s *Server) isClean(a netip.Addr, now time.Time) bool {
	if len(s.rivals) > 0 {
		return false
	}
	seen, ok := s.clean[a]
	return ok && now.Sub(seen) < cleanFor
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
	s.waiting[a] = &waitingOffer{query: q.clone(), out: out}
	s.wakeProbes()
}

func (s *Server) wakeProbes() {
	select {
	case s.probeWake <- struct{}{}:
	default:
	}
}

// probeLoop looks for addresses on the LAN: those that an OFFER waits for at
// once and all together, the others slowly, ahead of need.
func (s *Server) probeLoop(ctx context.Context, a *arpConn) error {
	heard := make(chan error, 1)
	go func() { heard <- s.hearClaims(ctx, a) }()
	sweep := time.NewTicker(probeWait)
	defer sweep.Stop()
	release := time.NewTimer(time.Hour)
	defer release.Stop()
	for {
		select {
		case err := <-heard:
			return err
		case <-s.probeWake:
			release.Reset(min(s.askForWaiting(a), probeWait))
		case <-release.C:
			if next := s.releaseOffers(); next > 0 {
				release.Reset(next)
			}
		case <-sweep.C:
			s.sweep(a)
		}
	}
}

// askForWaiting sends a probe for every OFFER that has none yet, and returns
// when the first of all is due.
func (s *Server) askForWaiting(a *arpConn) time.Duration {
	now := s.clock.now()
	var ask []netip.Addr
	first := probeWait
	s.mu.Lock()
	ask = append(ask, s.verify...)
	s.verify = s.verify[:0]
	for addr, w := range s.waiting {
		if w.due.IsZero() {
			w.due = now.Add(probeWait)
			ask = append(ask, addr)
		}
		first = min(first, w.due.Sub(now))
	}
	s.unlock()
	s.probeAll(a, ask)
	return max(first, time.Millisecond)
}

func (s *Server) probeAll(a *arpConn, addrs []netip.Addr) {
	for _, addr := range addrs {
		if err := a.probe(addr); err != nil {
			s.log.Debug("cannot send an ARP probe", "address", addr, "err", err)
		}
	}
}

// releaseOffers lets the OFFERs leave whose addresses nobody claimed in time,
// and returns how long until the next is due; zero when none waits.
func (s *Server) releaseOffers() time.Duration {
	now := s.clock.now()
	var out []outgoing
	var next time.Duration
	s.mu.Lock()
	for addr, w := range s.waiting {
		switch left := w.due.Sub(now); {
		case w.due.IsZero(): // its probe is about to be sent
		case left <= 0:
			delete(s.waiting, addr)
			s.clean[addr] = now
			out = append(out, w.out)
		case next == 0 || left < next:
			next = left
		}
	}
	s.unlock()
	s.sendAll(out)
	return next
}

// swept is an address that was looked for ahead of need.
type swept struct {
	n  uint32
	at time.Time
}

// sweep keeps a stock of free addresses that nobody answers for.
func (s *Server) sweep(a *arpConn) {
	now := s.clock.now()
	var ask []netip.Addr
	s.mu.Lock()
	if s.serving {
		s.promote(now)
		ask = s.restock(now)
	}
	s.unlock()
	s.probeAll(a, ask)
}

// promote puts the addresses of the last sweep into the stock, since who has one
// has answered by now, and takes those out that were looked for long ago. The
// caller holds s.mu.
func (s *Server) promote(now time.Time) {
	p := s.table.pools[0]
	for _, w := range s.asked {
		if p.free.has(w.n) {
			p.ready.set(w.n)
			s.clean[toAddr(w.n)] = w.at
			s.stocked = append(s.stocked, w)
		}
	}
	s.asked = s.asked[:0]
	for len(s.stocked) > 0 && now.Sub(s.stocked[0].at) >= cleanFor {
		w := s.stocked[0]
		s.stocked = s.stocked[1:]
		p.ready.clear(w.n)
		delete(s.clean, toAddr(w.n))
	}
}

// restock returns addresses to look for. The caller holds s.mu.
func (s *Server) restock(now time.Time) (ask []netip.Addr) {
	t := s.table.pools[0] // behind a relay nobody answers our ARP
	missing := min(stock, t.free.count) - t.ready.count
	for range stock + t.ready.count { // no more than once round
		n, ok := t.free.next(t.net.next(s.lastSwept))
		if !ok || len(ask) >= missing {
			break
		}
		s.lastSwept = n
		if !t.ready.has(n) {
			s.asked = append(s.asked, swept{n, now})
			ask = append(ask, toAddr(n))
		}
	}
	return ask
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
	state, ok := t.stateFound(addr, claimer)
	if !ok {
		return nil // who answers for everything only wants to empty the pool
	}
	delete(s.clean, addr)
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
	d := decision{gen: found.gen, changes: []Lease{found.lease()}}
	s.queue.add(pendingCommit{record: found, gen: d.gen, changes: d.changes, out: outgoing{event: e}})
	if w == nil {
		return nil
	}
	return s.decide(now, w.query) // another address for who was about to get this one
}

// conflictOfLease tells, once a claimer, that somebody else has a leased address too.
func (s *Server) conflictOfLease(now time.Time, addr netip.Addr, r *record, claimer mac) []outgoing {
	if r.State == StateBound && now.Sub(r.doubted) < time.Second && !s.table.quarantineFull() {
		e := &Event{Type: EventConflict, MAC: claimer.hw(), Addr: addr, Detail: "declined by " + r.MAC.String() + ", answers to ARP"}
		s.metrics.conflicts.Inc()
		d := s.table.quarantine(now, r, e)
		s.queue.add(pendingCommit{record: r, gen: d.gen, changes: d.changes, out: outgoing{event: e}})
		return nil
	}
	if r.State != StateBound || r.claimer == claimer {
		return nil
	}
	r.claimer = claimer
	s.metrics.conflicts.Inc()
	return []outgoing{{event: &Event{
		Type: EventConflict, MAC: claimer.hw(), Addr: addr, Detail: "answers to ARP for the address of " + r.MAC.String(),
	}}}
}
