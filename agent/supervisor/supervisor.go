// Package supervisor runs the units of the parts, each by itself: it compares what
// a unit should be with what it is, starts it, hands it new configurations, starts
// it again after a failure, and knows which configuration is in force.
//
// A unit that fails, panics or hangs delays no other.
package supervisor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	firstDelay = 250 * time.Millisecond
	maxDelay   = 30 * time.Second
	// A run that lasted this long was healthy: its next failure is waited for from firstDelay on.
	healthyAfter = time.Minute
	// applyTime is how long a run may take to take a new configuration over.
	applyTime = 30 * time.Second
	// endTime is how long a run may take to end once it was asked to.
	endTime = 10 * time.Second
	// firstTime is how long the others let the units go before that are to be the first.
	firstTime = time.Second
)

// Options are what a Supervisor needs.
type Options struct {
	// Input returns what every unit should be as.
	Input func() part.Input
	// Register has the collectors of a run served until unregister is called. Nil:
	// they are not.
	Register func(name string, c []prometheus.Collector) (unregister func(), err error)
	// Reconciled is told that a unit was compared with what it should be. Nil: nobody is.
	Reconciled func(name string, took time.Duration, err error)
	Logger     *slog.Logger
}

// Supervisor runs units. Its methods may be called from any goroutine.
type Supervisor struct {
	opts    Options
	units   []*keeper
	changed signal.Broadcast // the status of a unit
}

// New returns a supervisor of units, which Run starts.
func New(units []part.Unit, o Options) *Supervisor {
	s := &Supervisor{opts: o}
	for _, u := range units {
		s.units = append(s.units, newKeeper(u, s))
	}
	return s
}

// Run runs the units until ctx ends and they have ended, too. One that does not
// end in time is left behind.
func (s *Supervisor) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var first, others []*keeper
	for _, k := range s.units {
		if k.unit.First {
			first = append(first, k)
		} else {
			others = append(others, k)
		}
	}
	for _, k := range first {
		wg.Go(func() { k.keep(ctx) })
	}
	bounded, cancel := context.WithTimeout(ctx, firstTime)
	defer cancel()
	_ = s.waitEvaluated(bounded, first) // one that takes longer is not waited for
	for _, k := range others {
		wg.Go(func() { k.keep(ctx) })
	}
}

// Wake has every unit look again soon. It never waits.
func (s *Supervisor) Wake() {
	for _, k := range s.units {
		k.wake.Notify()
	}
}

// Status returns what is known of each unit, in the order of New.
func (s *Supervisor) Status() []control.PartStatus {
	out := make([]control.PartStatus, 0, len(s.units))
	for _, k := range s.units {
		out = append(out, k.Status())
	}
	return out
}

// WaitEvaluated waits until every unit has evaluated the input since the call, whatever
// came of it, or ctx ends.
func (s *Supervisor) WaitEvaluated(ctx context.Context) error { return s.waitEvaluated(ctx, s.units) }

func (s *Supervisor) waitEvaluated(ctx context.Context, units []*keeper) error {
	targets := make([]uint64, len(units))
	for i, k := range units {
		targets[i] = k.request()
	}
	return s.wait(ctx, func() bool {
		for i, k := range units {
			if !k.evaluatedSince(targets[i]) {
				return false
			}
		}
		return true
	})
}

// Tried waits until a generation is in force in every unit, or could not be put in
// force, or ctx ends. It returns the status of those where it is not in force.
func (s *Supervisor) Tried(ctx context.Context, generation uint64) (behind []control.PartStatus) {
	return s.waitBehind(ctx, generation, func(st control.PartStatus) bool { return st.Behind == errChanging.Error() || st.Behind == "" })
}

// InForce waits until a generation is in force in every unit, or ctx ends. It
// returns the status of those where it is not.
func (s *Supervisor) InForce(ctx context.Context, generation uint64) (behind []control.PartStatus) {
	return s.waitBehind(ctx, generation, func(control.PartStatus) bool { return true })
}

// waitBehind waits until no unit that is behind has to be waited for, or ctx ends,
// and returns the units that are behind.
func (s *Supervisor) waitBehind(ctx context.Context, generation uint64, waitFor func(control.PartStatus) bool) (behind []control.PartStatus) {
	_ = s.wait(ctx, func() bool { // when ctx ends, the answer is what was seen last
		behind = nil
		done := true
		for _, st := range s.Status() {
			if st.Generation >= generation && st.Behind == "" {
				continue
			}
			behind = append(behind, st)
			done = done && !waitFor(st)
		}
		return done
	})
	return behind
}

// Alive asks the loops of all units that have one whether they still turn, and
// returns the names of those that have not answered before ctx ended.
func (s *Supervisor) Alive(ctx context.Context) (silent []string) {
	answers := make([]chan error, len(s.units))
	for i, k := range s.units {
		answers[i] = make(chan error, 1)
		go func() { answers[i] <- k.alive(ctx) }()
	}
	for i, k := range s.units {
		var err error
		select {
		case err = <-answers[i]:
		case <-ctx.Done():
			select {
			case err = <-answers[i]: // in time, it was only read late
			default:
				err = ctx.Err()
			}
		}
		if err != nil {
			silent = append(silent, k.unit.Name)
		}
	}
	return silent
}

// wait returns when done does, asked at each change of a status, or when ctx ends.
func (s *Supervisor) wait(ctx context.Context, done func() bool) error {
	for {
		changed := s.changed.Next()
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
