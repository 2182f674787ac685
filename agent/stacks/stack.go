package stacks

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// reconcileEvery finds what no event tells: room on the disk, a renewed certificate.
	reconcileEvery = 30 * time.Second
	// firstDelay is how long a stack that cannot be brought up is left alone at first;
	// each time twice as long, up to Options.MaxDelay.
	firstDelay = 5 * time.Second
	// steadyAfter is how long a stack must be well for its next failure to begin at firstDelay.
	steadyAfter = 5 * time.Minute
)

// stack is one stack. One goroutine at a time works on it: who holds work.
type stack struct {
	*Service
	name  string
	log   *slog.Logger
	work  chan struct{} // holds one token; taken by who works on the stack
	due   signal.Signal // a new look is
	fixed atomic.Uint64 // times that it was brought back

	mu           sync.Mutex // guards the following
	cfg          Config
	reconfigured bool // since the last look
	status       Status
	extras       map[string]extra

	// For who holds work.
	delay     time.Duration
	wellSince time.Time
	watched   time.Time
	setUp     bool
	hashes    struct { // what Compose makes of the project with this digest
		digest   string
		services map[string]string
	}
}

func newStack(s *Service, name string) *stack {
	return &stack{
		Service: s, name: name, log: s.opts.Logger.With("stack", name), work: make(chan struct{}, 1), due: signal.New(),
		status: Status{Name: name, State: Off, Since: time.Now()}, extras: make(map[string]extra),
	}
}

func (s *stack) dir() string     { return s.Service.dir(s.name) }
func (s *stack) project() string { return "sae-" + s.name }

func (s *stack) configure(cfg Config) {
	s.mu.Lock()
	s.cfg, s.reconfigured = cfg, true
	s.mu.Unlock()
	s.wake()
}

func (s *stack) config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (s *stack) enabled() bool { return s.kind() != nil }

// kind is what the stack is; nil: it is off.
func (s *stack) kind() kind.Kind {
	cfg := s.config()
	return cfg.kind(s.name)
}

// concerned reports whether there is or was something of this stack here.
func (s *stack) concerned() bool {
	if s.enabled() {
		return true
	}
	_, err := os.Stat(s.dir())
	return err == nil
}

func (s *stack) wake() { s.due.Notify() }

// current is the stack's status.
func (s *stack) current() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Repairs = s.fixed.Load()
	if st.State != Off {
		st.Notes = slices.Concat(st.Notes, s.extraNotes(), s.lineNotes())
	}
	return st
}

// note changes the status, and tells who wants to know when the state or the
// problem has changed.
func (s *stack) note(change func(*Status)) {
	s.mu.Lock()
	before := s.status
	change(&s.status)
	after := s.status
	changed := before.State != after.State || text(before.Problem) != text(after.Problem)
	if changed {
		s.status.Since = time.Now()
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	if p := after.Problem; p != nil && (after.State == Blocked || after.State == Degraded) {
		s.log.Warn("stack is "+string(after.State), "problem", p.What, "fix", p.Fix)
	} else {
		s.log.Info("stack is " + string(after.State))
	}
	s.opts.OnChange()
}

func text(p *Problem) string {
	if p == nil {
		return ""
	}
	return p.Error()
}

// run keeps the stack until ctx ends.
func (s *stack) run(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		_ = s.reconcile(ctx, false) // the status says what is wrong
		if ctx.Err() == nil {
			s.updateByItself(ctx)
		}
		retry := time.NewTimer(s.untilRetry())
		select {
		case <-ctx.Done():
			retry.Stop()
			return
		case <-s.due.C():
		case <-tick.C:
		case <-retry.C:
		}
		retry.Stop()
	}
}

func (s *stack) untilRetry() time.Duration {
	next := s.current().NextTry
	if next.IsZero() {
		return time.Hour
	}
	return max(0, time.Until(next))
}

// begin takes the right to work on the stack.
func (s *stack) begin(ctx context.Context) error {
	select {
	case s.work <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stack) end() { <-s.work }

// reconcile looks at the stack and does what is needed. With now it does not wait for
// the time after a failure to pass.
func (s *stack) reconcile(ctx context.Context, now bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	began := time.Now()
	err := s.reconcileOnce(ctx, now)
	if ctx.Err() == nil && s.concerned() {
		s.opts.OnReconcile(time.Since(began), err)
	}
	var p *Problem
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case !errors.As(err, &p):
		p = problem(Failed, "the journal may say more", "%v", err)
	}
	s.failed(p)
	return p
}

// reconcileFor is tend for somebody who waits and may go.
func (s *stack) reconcileFor(ctx context.Context) error {
	ctx, cancel, err := s.lasting(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return s.reconcile(ctx, true)
}

// stopped reports whether no container of the stack runs.
func (s *stack) stopped(ctx context.Context) (bool, error) {
	if _, err := os.Stat(s.dir()); err != nil {
		return true, nil
	}
	if err := s.provedStopped(ctx); err != nil {
		var p *Problem
		if errors.As(err, &p) && p.Code == NoDocker {
			return true, nil // nothing can run
		}
		return false, nil // and is to be stopped
	}
	return true, nil
}

// failed notes a problem, and when to try again.
func (s *stack) failed(p *Problem) {
	now := time.Now()
	if !s.wellSince.IsZero() && now.Sub(s.wellSince) >= steadyAfter {
		s.delay = 0
	}
	s.wellSince = time.Time{}
	s.delay = min(max(2*s.delay, firstDelay), s.opts.MaxDelay)
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry = Blocked, p, now.Add(s.delay)
		if p.Code == Unhealthy || p.Code == Failed {
			st.State = Degraded
		}
	})
}

// standStill stops what runs, so that the files can be copied.
func (s *stack) standStill(ctx context.Context) error {
	if _, err := os.Stat(s.transactionFile()); err == nil {
		return problem(Failed, "'sae-agent stacks' says what keeps it from going back; copy it when that is done", "an update of %s that failed is not undone yet", s.name)
	}
	s.step("hold")
	still, err := s.stopped(ctx)
	if err == nil && !still {
		err = s.compose(ctx, composeCall{args: []string{"stop"}})
	}
	if err == nil {
		err = s.provedStopped(ctx)
	}
	s.step("held")
	return err
}

// step tells of a step of an update or of a backup before it is done.
func (s *stack) step(name string) { s.opts.OnStep(s.name, name) }

// provedStopped returns an error unless Docker says that no container of the stack
// runs: what a command has said is no proof.
func (s *stack) provedStopped(ctx context.Context) error {
	have, err := s.docker.Containers(ctx, s.project())
	if err != nil {
		return daemonProblem(err, s.cli.installed())
	}
	for _, c := range have {
		if c.State == "running" || c.State == "restarting" || c.State == "paused" {
			return problem(Failed, "it is tried again by itself", "%s still runs", c.Service)
		}
	}
	return nil
}

func (s *stack) reconcileOnce(ctx context.Context, now bool) error {
	if !s.enabled() || s.store.get().Stopped[s.name] {
		return s.takeDown(ctx)
	}
	if !s.takeReconfigured() && !now && time.Now().Before(s.current().NextTry) && s.sameProblem(ctx) {
		return nil
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	return s.ensureUp(ctx)
}

// takeReconfigured reports whether the configuration has changed since the last look:
// that may be what was needed, and nobody waits for the time after a failure to pass.
func (s *stack) takeReconfigured() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.reconfigured
	s.reconfigured = false
	return was
}

// sameProblem reports whether a check finds what the last one did: an event may
// mean that waiting is over.
func (s *stack) sameProblem(ctx context.Context) bool {
	p := s.current().Problem
	if p == nil || p.Code != DaemonDown && p.Code != NoDocker {
		return true
	}
	_, err := s.docker.Version(ctx)
	return err != nil
}

// usable reports why Docker and Compose will not do.
func (s *stack) usable(ctx context.Context) error {
	if _, err := s.docker.Version(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return daemonProblem(err, s.cli.installed())
	}
	if p := s.cli.check(ctx); p != nil {
		return p
	}
	return nil
}

// takeDown stops what runs of a stack that is off or stopped.
func (s *stack) takeDown(ctx context.Context) error {
	state := Off
	if s.enabled() {
		state = Stopped
	}
	if _, err := os.Stat(s.dir()); err == nil {
		if err := s.usable(ctx); err != nil {
			var p *Problem
			if state == Off && errors.As(err, &p) && (p.Code == NoDocker || p.Code == DaemonDown) {
				s.rest(state, nil) // nothing can run
				return nil
			}
			return err
		}
		if s.enabled() { // what is off has nothing to go back to until it is on again
			if err := s.recover(ctx); err != nil {
				return err
			}
		}
		have, err := s.docker.Containers(ctx, s.project())
		if err != nil {
			return err
		}
		if len(have) > 0 {
			if err := s.compose(ctx, composeCall{args: []string{"down", "--remove-orphans"}}); err != nil {
				return err
			}
		}
	}
	s.rest(state, nil)
	return nil
}

func (s *stack) rest(state State, services []ServiceStatus) {
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry, st.Services, st.Notes, st.URL, st.Pull = state, nil, time.Time{}, services, nil, "", nil
	})
}
