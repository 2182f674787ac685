package supervisor

import (
	"time"

	"github.com/sae-agent/sae-agent/agent/part"
)

// retry says when something that failed is tried again. The zero value is due.
type retry struct {
	delay time.Duration
	at    time.Time
	tried any // the configuration that failed
}

// failed notes a failure with a configuration.
func (r *retry) failed(c any, now time.Time) {
	r.delay = min(max(2*r.delay, firstDelay), maxDelay)
	r.at, r.tried = now.Add(r.delay), c
}

// due reports whether it may be tried now. Another configuration may at once.
func (r *retry) due(c any, now time.Time) bool {
	return r.at.IsZero() || !now.Before(r.at) || !part.Same(r.tried, c)
}

// waits reports whether a failure waits for its next try.
func (r *retry) waits() bool { return !r.at.IsZero() }

// begun says that it is being tried: nothing is waited for, and another failure is
// waited for longer.
func (r *retry) begun() { r.at = time.Time{} }

// done forgets the failures.
func (r *retry) done() { *r = retry{} }
