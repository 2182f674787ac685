package dhcpd

import "slices"

// snapshot is how the server was when a change had just been made. Whoever only
// wants to know, a scrape above all, reads it and never waits for the server, nor
// the server for him.
type snapshot struct {
	Status
	states [stateCount]int // addresses by state
}

// unlock gives s.mu back after a change, and shows what has become of it.
func (s *Server) unlock() {
	s.show()
	s.mu.Unlock()
}

// show takes a snapshot. The caller holds s.mu, or nobody else knows s yet.
func (s *Server) show() {
	size, free := s.table.size()
	now := &snapshot{
		Status: Status{
			Serving: s.serving, Reason: s.reason, Starting: s.starting, Strays: s.strays, PoolSize: size,
			PoolUsed: size - free,
			Bound:    s.table.states[StateBound], Declined: s.table.states[StateDeclined],
		},
		states: s.table.states,
	}
	now.Rivals = sortedRivals(s.rivals)
	for _, f := range s.foreign {
		if !f.told.IsZero() {
			now.Foreign = append(now.Foreign, f)
		}
	}
	slices.SortFunc(now.Foreign, func(a, b Foreign) int { return a.ServerID.Compare(b.ServerID) })
	s.shown.Store(now)
}

// Status returns the server's state. It takes no lock.
func (s *Server) Status() Status { return s.shown.Load().Status }
