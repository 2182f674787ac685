// Package attacks counts the failed attempts of each sender, and says when there
// were too many of them in too short a time.
//
// It knows nothing of what was attempted, nor of what is done to the sender. Its
// memory is bounded, since senders can be made up.
package attacks

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Limit is how many attempts are too many.
type Limit struct {
	Attempts int // at least 1
	Within   time.Duration
}

// maxSenders bounds the memory.
const maxSenders = 10_000

// Counter counts the attempts of one kind.
type Counter struct {
	limit Limit

	mu      sync.Mutex // guards the following
	senders map[netip.Addr]*sender
}

// sender is when the latest attempts were, oldest first: as many as matter.
type sender struct{ times []time.Time }

// NewCounter returns a counter that has seen nobody.
func NewCounter(l Limit) *Counter {
	return &Counter{limit: l, senders: make(map[netip.Addr]*sender)}
}

// Note counts an attempt. tooMany is true when the limit is reached, and counting
// begins again then; attempts is how many were counted.
func (c *Counter) Note(from netip.Addr, now time.Time) (attempts int, tooMany bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.senders[from]
	if s == nil {
		c.makeRoom(now)
		s = &sender{}
		c.senders[from] = s
	}
	s.times = append(slices.DeleteFunc(s.times, func(t time.Time) bool { return now.Sub(t) >= c.limit.Within }), now)
	attempts = len(s.times)
	if attempts < c.limit.Attempts {
		return attempts, false
	}
	delete(c.senders, from)
	return attempts, true
}

// Forget forgets a sender's attempts.
func (c *Counter) Forget(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.senders, from)
}

// makeRoom forgets who has not tried for long; when that is not enough, who has
// tried once, as made-up senders do; then everybody. It is seldom that it runs.
func (c *Counter) makeRoom(now time.Time) {
	if len(c.senders) < maxSenders {
		return
	}
	for _, forgettable := range []func(*sender) bool{
		func(s *sender) bool { return now.Sub(s.times[len(s.times)-1]) >= c.limit.Within },
		func(s *sender) bool { return len(s.times) == 1 },
		func(*sender) bool { return true },
	} {
		maps.DeleteFunc(c.senders, func(_ netip.Addr, s *sender) bool { return forgettable(s) })
		if len(c.senders) < maxSenders/2 {
			return
		}
	}
}
