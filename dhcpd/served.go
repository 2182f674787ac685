package dhcpd

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"time"
)

// Served is what a server remembers of having served a LAN. It gives precedence
// over a server that comes later: see Server.precedes.
type Served struct {
	Machine string           // Options.Machine
	Card    net.HardwareAddr // that faces the LAN
	Subnet  netip.Prefix
	Last    time.Time // wall clock
}

// ServedStore is where it is remembered over restarts.
type ServedStore interface {
	// LoadServed returns the zero Served when nothing is remembered.
	LoadServed(ctx context.Context) (Served, error)
	StoreServed(ctx context.Context, s Served) error
}

// savePeriods is how often in a lease time it is stored.
const savePeriods = 20

// clockTolerance is how far ahead of the clock a stored time may be.
const clockTolerance = 5 * time.Minute

// servedNow describes the LAN as it is served now. The caller holds s.mu.
func (s *Server) servedNow() Served {
	return Served{Machine: s.opts.Machine, Card: s.card, Subnet: s.table.plan.Subnet, Last: s.opts.Wall()}
}

// counts reports whether o, stored earlier, was the same LAN as s describes, served
// by the same machine less than a lease time ago. The backup of another machine, or
// the image that a machine was cloned from, does not count: its phones have an
// appliance already.
func (s Served) counts(o Served, lease time.Duration) bool {
	age := s.Last.Sub(o.Last)
	return s.Machine != "" && s.Machine == o.Machine && bytes.Equal(s.Card, o.Card) && s.Subnet == o.Subnet &&
		age < lease && age > -clockTolerance
}

// loadServed recalls whether this LAN was served before the server started.
func (s *Server) loadServed(ctx context.Context, card net.HardwareAddr) {
	var earlier Served
	if s.opts.Served != nil {
		var err error
		if earlier, err = s.opts.Served.LoadServed(ctx); err != nil {
			s.log.Warn("cannot tell whether this LAN was served before; another server that answers counts as the first", "err", err)
		}
	}
	s.mu.Lock()
	defer s.unlock()
	s.earlier, s.card = earlier, card
}

// precedes reports whether this server was first on the LAN, so that it goes on
// serving when another one answers: it has bound leases since it started, or
// shortly before. The caller holds s.mu.
func (s *Server) precedes() bool {
	return s.hasBound || s.servedNow().counts(s.earlier, s.table.plan.LeaseTime)
}

// noteBound notes that a lease is on disk whose ACK is about to leave. The caller
// holds s.mu.
func (s *Server) noteBound(p *pendingCommit) {
	if p.out.reply != nil && p.lease.State == StateBound {
		s.hasBound = true
	}
}

// saveServed stores that this LAN is served, when that is due.
func (s *Server) saveServed(ctx context.Context) {
	s.mu.Lock()
	now := s.servedNow()
	every := max(s.table.plan.LeaseTime/savePeriods, time.Second)
	due := s.serving && s.precedes() && !now.counts(s.earlier, every)
	if due {
		s.earlier = now
	}
	s.mu.Unlock()
	if !due || s.opts.Served == nil {
		return
	}
	if err := s.opts.Served.StoreServed(ctx, now); err != nil {
		s.log.Debug("cannot remember that this LAN is served", "err", err) // that leases cannot be stored is said elsewhere
	}
}
