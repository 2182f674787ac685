package dhcpd

import (
	"context"
	"net/netip"
	"sync"

	"github.com/sae-agent/sae-agent/internal/signal"
)

// maxQueue bounds the leases that wait for the disk. What is beyond is dropped,
// and asked for again by its client.
const maxQueue = 8192

// pendingCommit is a change that must be on disk before its reply leaves.
type pendingCommit struct {
	record *record
	gen    uint64
	lease  Lease      // the record's change
	leaves netip.Addr // to be deleted from the store, or zero
	out    outgoing
}

// commitQueue holds the changes that came while the disk was busy with the last
// ones: they all go in the next commit (group commit).
type commitQueue struct {
	wake signal.Signal

	mu   sync.Mutex // guards the following
	list []pendingCommit
	// spare is a list that was committed, to be filled again.
	spare []pendingCommit
}

func newCommitQueue() *commitQueue { return &commitQueue{wake: signal.New()} }

func (q *commitQueue) add(p pendingCommit) bool {
	q.mu.Lock()
	full := len(q.list) >= maxQueue
	if !full {
		q.list = append(q.list, p)
	}
	q.mu.Unlock()
	q.wake.Notify()
	return !full
}

func (q *commitQueue) takeAll() []pendingCommit {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.list
	q.list, q.spare = q.spare, nil
	return all
}

// giveBack lets a list from takeAll be used again.
func (q *commitQueue) giveBack(all []pendingCommit) {
	clear(all)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = all[:0]
}

func (s *Server) commitLoop(ctx context.Context) error {
	var b commitBuffers
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.queue.wake.C():
		}
		// A commit that has begun is finished: half of it would be nobody's lease.
		if all := s.queue.takeAll(); len(all) > 0 {
			s.commit(context.WithoutCancel(ctx), all, &b)
			s.queue.giveBack(all)
		}
	}
}

// commitBuffers are used by one commit after the other.
type commitBuffers struct {
	changes []Lease
	out     []outgoing
}

// commit stores the changes together and lets their replies leave, or undoes them all.
func (s *Server) commit(ctx context.Context, all []pendingCommit, b *commitBuffers) {
	b.changes, b.out = b.changes[:0], b.out[:0]
	ahead := s.clock.ahead()
	for i := range all {
		b.changes = append(b.changes, toWall(all[i].lease, ahead))
		if a := all[i].leaves; a.IsValid() {
			b.changes = append(b.changes, Lease{Addr: a, State: StateFree})
		}
	}
	err := s.store.Commit(ctx, b.changes)
	s.mu.Lock()
	now := s.clock.now()
	for i := range all {
		if p := &all[i]; err != nil {
			s.table.revert(p.record, p.gen, now)
			s.metrics.drop(dropStore)
		} else {
			p.record.disk = diskOf(mac(p.lease.MAC), &p.lease)
			s.noteBound(p)
		}
	}
	s.unlock()
	if err != nil {
		s.log.Error("leases cannot be stored, so none are given; is the disk full?", "leases", len(all), "err", err)
		return
	}
	for i := range all {
		if p := &all[i]; !p.out.arrived.IsZero() {
			s.metrics.durable.Observe(now.Sub(p.out.arrived).Seconds())
		}
		b.out = append(b.out, all[i].out)
	}
	s.sendAll(b.out)
}
