package dhcpd

import (
	"context"
	"sync"
)

// maxQueue bounds the leases that wait for the disk. What is beyond is dropped,
// and asked for again by its client.
const maxQueue = 8192

// pendingCommit is a change that must be on disk before its reply leaves.
type pendingCommit struct {
	record  *record
	gen     uint64
	changes []Lease // the first is the record's
	out     outgoing
}

// commitQueue holds the changes that came while the disk was busy with the last
// ones: they all go in the next commit (group commit).
type commitQueue struct {
	wake chan struct{}

	mu   sync.Mutex // guards the following
	list []pendingCommit
}

func newCommitQueue() *commitQueue { return &commitQueue{wake: make(chan struct{}, 1)} }

func (q *commitQueue) add(p pendingCommit) bool {
	q.mu.Lock()
	full := len(q.list) >= maxQueue
	if !full {
		q.list = append(q.list, p)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return !full
}

func (q *commitQueue) takeAll() []pendingCommit {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.list
	q.list = nil
	return all
}

func (s *Server) commitLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.queue.wake:
		}
		// A commit that has begun is finished: half of it would be nobody's lease.
		if all := s.queue.takeAll(); len(all) > 0 {
			s.commit(context.WithoutCancel(ctx), all)
		}
	}
}

// commit stores the changes together and lets their replies leave, or undoes them all.
func (s *Server) commit(ctx context.Context, all []pendingCommit) {
	var changes []Lease
	ahead := s.clock.ahead()
	for _, p := range all {
		for _, l := range p.changes {
			changes = append(changes, toWall(l, ahead))
		}
	}
	err := s.store.Commit(ctx, changes)
	s.mu.Lock()
	for _, p := range all {
		if err != nil {
			s.table.revert(p.record, p.gen, s.clock.now())
			s.metrics.drop(dropStore)
			continue
		}
		s.table.stored(p.record, p.changes[0])
		s.noteBound(p)
	}
	s.unlock()
	if err != nil {
		s.log.Error("leases cannot be stored, so none are given; is the disk full?", "leases", len(all), "err", err)
		return
	}
	out := make([]outgoing, 0, len(all))
	for _, p := range all {
		if !p.out.arrived.IsZero() {
			s.metrics.durable.Observe(s.clock.now().Sub(p.out.arrived).Seconds())
		}
		out = append(out, p.out)
	}
	s.sendAll(out)
}
