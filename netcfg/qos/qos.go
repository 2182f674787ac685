// Package qos shapes what leaves through one network card, so that voice never
// waits behind other packets: with cake where the kernel has it, else with htb and
// a class for voice, else not at all, which the status says.
//
// What to do is decided by a pure function of what should be and what is (see
// makePlan); events from the kernel only make it look again. It takes the place of
// the kernel's own queue alone: a root queue that somebody else has put on the
// card stays, and the status says so. It knows nothing of what the card is used
// for, nor of who marks the packets.
package qos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// reconcileEvery finds what no event tells, and reads the counters.
	reconcileEvery = 10 * time.Second
	retryDelay     = time.Second
	// maxRounds of one look: one for each kind of queue that the kernel may lack,
	// one to make the changes, and one to see that they hold.
	maxRounds = 5
	// maxRate is what the length of a packet can still be counted in: 32 bits of
	// bytes per second.
	maxRate = 8 * (1<<32 - 1)
	minRate = 64_000
)

// Config says what to shape.
type Config struct {
	Link string // the card; empty: none
	Rate uint64 // bits per second, 64,000 to 34,359,738,360; 0: shape nothing
}

// Validate returns what is wrong with c.
func (c Config) Validate() error {
	switch {
	case c.Rate != 0 && c.Link == "":
		return errors.New("qos: there is a rate, but no card")
	case c.Rate != 0 && (c.Rate < minRate || c.Rate > maxRate):
		return fmt.Errorf("qos: %s: a rate of %d bits per second cannot be shaped: it must be %d to %d", c.Link, c.Rate, minRate, uint64(maxRate))
	}
	return nil
}

// Options are what the shaper needs besides its configuration.
type Options struct {
	Logger *slog.Logger // default: discard
	// OnChange is told of every change of Status. It MUST NOT block.
	OnChange func(Status)
}

// Shaper keeps a card's queues as they should be.
type Shaper struct {
	opts    Options
	log     *slog.Logger
	due     signal.Signal // a look is due
	applied chan chan error

	mu      sync.Mutex // guards the following
	cfg     Config
	missing []string // kinds of queues that this kernel has not
	limit   *limiter
	settled bool // everything was as it should be once, so that a difference is drift
	repairs uint64
	fights  uint64
	status  Status
	traffic []Traffic
}

// New returns a shaper that Run starts.
func New(cfg Config, opts Options) (*Shaper, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.OnChange == nil {
		opts.OnChange = func(Status) {}
	}
	return &Shaper{
		opts: opts, log: opts.Logger, due: signal.New(), applied: make(chan chan error),
		cfg: cfg, limit: newLimiter(),
	}, nil
}

// Run shapes until ctx ends. The queues stay as they are then. It may be called
// once.
func (s *Shaper) Run(ctx context.Context) error {
	k, err := newKernel()
	if err != nil {
		return err
	}
	defer k.close()
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	following.Go(func() { s.follow(ctx) })
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	s.reconcile(k)
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-s.applied:
			s.reconcile(k)
			done <- nil
		case <-s.due.C():
			s.reconcile(k)
		case <-tick.C:
			s.reconcile(k)
		}
	}
}

// follow wakes the shaper after every event, and subscribes again when events
// were lost.
func (s *Shaper) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := watch(ctx, s.wake); err != nil {
			s.log.Debug("events about queues were lost, looking at everything", "err", err)
			s.wake()
			select {
			case <-ctx.Done():
			case <-time.After(retryDelay):
			}
		}
	}
}

func (s *Shaper) wake() {
	s.due.Notify()
}

// Apply gives the shaper a new configuration and returns when it has been acted on.
func (s *Shaper) Apply(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	if cfg != s.cfg {
		s.cfg, s.settled, s.missing, s.limit = cfg, false, nil, newLimiter()
	}
	s.mu.Unlock()
	done := make(chan error, 1)
	select {
	case s.applied <- done:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("qos: apply: %w", ctx.Err())
	}
}

// Plan lists what would be changed to shape as cfg says. It changes nothing. That
// the kernel lacks a kind of queue is only known of kinds that were tried.
func (s *Shaper) Plan(cfg Config) ([]Change, error) {
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	is, err := k.read()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	plan, _ := makePlan(cfg, is, s.missing)
	return plan, nil
}

// reconcile compares what is with what should be, repairs it, and reports the result.
func (s *Shaper) reconcile(k *kernel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.count()
	var problem string
	for range maxRounds {
		is, err := k.read()
		if err != nil {
			s.log.Error("cannot look at the queues", "err", err)
			return
		}
		var plan []Change
		if plan, problem = makePlan(s.cfg, is, s.missing); len(plan) == 0 {
			s.settled = s.settled || problem == ""
			s.report(is, problem)
			return
		}
		var again bool
		if problem, again = s.applyPlan(k, plan); !again {
			s.report(is, problem)
			return
		}
		problem = fmt.Sprintf("the kernel does not keep %q", plan[0])
	}
	s.report(nil, problem)
}

// count reads what went through the queues. The caller holds s.mu.
func (s *Shaper) count() {
	traffic, err := ReadTraffic(s.cfg.Link)
	if err != nil {
		s.log.Warn("cannot read the queues' counters", "err", err)
	}
	s.traffic = traffic
}

// applyPlan makes the changes of a plan. It reports whether looking again is of use,
// or else what is wrong. The caller holds s.mu.
func (s *Shaper) applyPlan(k *kernel, plan []Change) (problem string, again bool) {
	if s.settled {
		ok, began := s.limit.allow(time.Now())
		if began {
			s.fights++
			s.log.Warn("somebody undoes our queues again and again, pausing", "change", plan[0].String(), "pause", fightPause)
		}
		if !ok {
			return fmt.Sprintf("somebody else undoes %q again and again: find out who (journalctl -b) and have it leave the queues of %s alone", plan[0], s.cfg.Link), false
		}
		s.repairs++
	}
	for _, c := range plan {
		err := k.do(c)
		var missing *missingError
		if errors.As(err, &missing) {
			s.missing = append(s.missing, missing.kind)
			return "", true
		}
		if err != nil {
			s.log.Error("cannot shape", "change", c.String(), "err", err)
			return fmt.Sprintf("cannot do %q: %v", c, err), false
		}
		s.log.Debug("queue changed", "change", c.String())
	}
	if s.settled {
		s.log.Warn("somebody changed our queues, put them back", "link", s.cfg.Link)
	}
	return "", true
}

// report puts the status together and tells it when it has changed. The caller
// holds s.mu.
func (s *Shaper) report(is machine, problem string) {
	st := Status{Link: s.cfg.Link, Rate: s.cfg.Rate, Repairs: s.repairs, Problem: problem, Discipline: DisciplineNone}
	if problem == "" {
		st.Discipline = is.card(s.cfg.Link).discipline()
	}
	if st.Rate != 0 && problem == "" && st.Discipline == DisciplineNone {
		st.Problem = "this kernel has neither cake nor htb, so nothing is shaped: Debian's own kernel (linux-image-amd64) has both"
	}
	if reflect.DeepEqual(st, s.status) {
		return
	}
	if st.Rate != s.status.Rate || st.Rate != 0 && st.Discipline != s.status.Discipline {
		s.log.Info("uplink shaped", "link", st.Link, "discipline", string(st.Discipline), "bits_per_second", st.Rate)
	}
	s.status = st
	s.opts.OnChange(st)
}

// Repairs of drift are paused when there were as many within so much time.
const (
	fightRepairs = 5
	fightWindow  = 10 * time.Second
	fightPause   = 30 * time.Second
)

// limiter stops repairs that somebody else undoes each time.
type limiter struct {
	times []time.Time // of the latest repairs
	until time.Time   // when one may be tried again
}

func newLimiter() *limiter { return &limiter{} }

// allow reports whether a repair may be made now; began is true when it just
// became a fight.
func (l *limiter) allow(now time.Time) (ok, began bool) {
	if now.Before(l.until) {
		return false, false
	}
	l.times = slices.DeleteFunc(l.times, func(t time.Time) bool { return now.Sub(t) > fightWindow })
	if len(l.times) >= fightRepairs {
		l.until, l.times = now.Add(fightPause), nil
		return false, true
	}
	l.times = append(l.times, now)
	return true, false
}
