package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/internal/signal"
)

var (
	errReturned = errors.New("it ended without being asked to")
	errStuck    = errors.New("it does not end although it was asked to, and is not started again before it has")
	errChanging = errors.New("it is being changed")
)

// keeper keeps one unit as it should be.
type keeper struct {
	unit part.Unit
	sup  *Supervisor
	wake signal.Signal

	// What follows belongs to the goroutine of keep.
	run     *run       // nil while nothing runs
	hung    chan error // gets the end of a call that did not return in time; nil: none
	starts  retry      // of starting, and of handing over a configuration
	tried   uint64     // the generation that was: each apply has it tried at once
	settles retry      // of reading back that it is in force

	mu        sync.Mutex // guards the following
	status    control.PartStatus
	requested uint64 // counts requests to evaluate the input
	evaluated uint64 // the newest request that was followed
	lively    func(ctx context.Context) error
}

// run is one run of the unit.
type run struct {
	part.Run[any]
	config  any
	cancel  context.CancelFunc
	ended   chan error // gets why it ended, once
	began   time.Time
	stopped bool // it was asked to end
	settled bool // config was read back as in force
	settle  *settling
	refused error // why it was not, the last time
}

// behind says why the configuration is not in force; empty: it is.
func (r *run) behind() string {
	switch {
	case r.settled:
		return ""
	case r.refused != nil:
		return r.refused.Error()
	}
	return errChanging.Error()
}

// settling is the wait for a configuration to be in force.
type settling struct {
	cancel context.CancelFunc
	done   chan error
}

func newKeeper(u part.Unit, s *Supervisor) *keeper {
	return &keeper{unit: u, sup: s, wake: signal.New(), status: control.PartStatus{Name: u.Name, State: control.PartStarting, Since: time.Now()}}
}

// Status returns what is known of the unit.
func (k *keeper) Status() control.PartStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// request asks for a look and returns its number.
func (k *keeper) request() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.requested++
	k.wake.Notify()
	return k.requested
}

func (k *keeper) evaluatedSince(request uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.evaluated >= request
}

// alive asks the loop of what runs now.
func (k *keeper) alive(ctx context.Context) error {
	k.mu.Lock()
	ask := k.lively
	k.mu.Unlock()
	if ask == nil {
		return nil
	}
	return ask(ctx)
}

// note changes the status and tells those who wait for it.
func (k *keeper) note(f func(*control.PartStatus)) {
	k.mu.Lock()
	before := k.status
	f(&k.status)
	if k.status.State != before.State {
		k.status.Since = time.Now()
	}
	changed := k.status != before
	k.mu.Unlock()
	if changed {
		k.sup.changed.Notify()
	}
}

// keep keeps the unit until ctx ends.
func (k *keeper) keep(ctx context.Context) {
	for ctx.Err() == nil {
		k.evaluate(ctx)
		k.await(ctx)
	}
	_ = k.stop() // one that does not end is left behind
	k.note(func(s *control.PartStatus) { s.State, s.NextTry = control.PartStopped, time.Time{} })
}

// evaluate compares the unit with what it should be, makes it so, and notes what came
// of it.
func (k *keeper) evaluate(ctx context.Context) {
	k.mu.Lock()
	request := k.requested
	k.mu.Unlock()
	in, began := k.sup.opts.Input(), time.Now()
	err := k.reconcile(ctx, in)
	if ctx.Err() != nil {
		return
	}
	if k.sup.opts.Reconciled != nil {
		k.sup.opts.Reconciled(k.unit.Name, time.Since(began), err)
	}
	k.conclude(in.Generation, err)
	k.mu.Lock()
	k.evaluated = request
	k.mu.Unlock()
	k.sup.changed.Notify()
}

// reconcile makes the unit as it should be.
func (k *keeper) reconcile(ctx context.Context, in part.Input) error {
	if k.hung != nil || k.run != nil && k.run.stopped {
		k.starts.begun()
		return errStuck
	}
	var want any
	var on bool
	err := k.call(ctx, applyTime, func(ctx context.Context) (err error) {
		want, on, err = k.unit.Desired(ctx, in)
		return err
	})
	switch {
	case err != nil:
		k.starts.failed(nil, time.Now())
		return err
	case !on:
		k.starts.done()
		return k.stop()
	case k.run != nil && part.Same(k.run.config, want):
		k.starts.begun()
		k.beginSettling(ctx)
		return nil
	case !k.starts.due(want, time.Now()) && k.tried == in.Generation:
		return errors.New(k.Status().LastError) // said before
	}
	k.starts.begun()
	k.tried = in.Generation
	if k.run == nil {
		err = k.start(ctx, want)
	} else {
		err = k.apply(ctx, want)
	}
	if err != nil && ctx.Err() == nil {
		k.failed(want, err)
	}
	return err
}

// failed notes that a configuration could not be run.
func (k *keeper) failed(c any, err error) {
	k.starts.failed(c, time.Now())
	k.sup.opts.Logger.Error("a part failed, it is tried again", "part", k.unit.Name, "err", err, "in", k.starts.delay)
	k.note(func(s *control.PartStatus) { s.LastError = err.Error() })
}

// apply hands a new configuration to what runs, or restarts it.
func (k *keeper) apply(ctx context.Context, want any) error {
	err := part.ErrRebuild
	if k.run.Apply != nil {
		err = k.call(ctx, applyTime, func(ctx context.Context) error { return k.run.Apply(ctx, want) })
	}
	if errors.Is(err, part.ErrRebuild) {
		if err := k.stop(); err != nil {
			return err
		}
		return k.start(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("the new configuration was not taken over: %w", err)
	}
	k.starts.done()
	k.run.config = want
	k.unsettle()
	k.beginSettling(ctx)
	return nil
}

// start makes a run and lets it go.
func (k *keeper) start(ctx context.Context, want any) error {
	k.note(func(s *control.PartStatus) {
		if s.State != control.PartStarting {
			s.Retries += btoi(s.State == control.PartWaiting)
			s.State = control.PartStarting
		}
		s.NextTry = time.Time{}
	})
	runCtx, cancel := context.WithCancel(ctx)
	r := &run{config: want, cancel: cancel, ended: make(chan error, 1), began: time.Now()}
	err := k.call(runCtx, 0, func(ctx context.Context) (err error) {
		r.Run, err = k.unit.Build(ctx, want)
		return err
	})
	if err != nil {
		cancel()
		return err
	}
	unregister := func() {}
	if register := k.sup.opts.Register; register != nil && len(r.Collectors) > 0 {
		if unregister, err = register(k.unit.Name, r.Collectors); err != nil {
			cancel()
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	go func() {
		err := guard(func() error { return r.Run.Run(runCtx) })
		unregister()
		if err == nil {
			err = errReturned
		}
		r.ended <- err
	}()
	k.setRun(r)
	k.note(func(s *control.PartStatus) { s.State = control.PartRunning })
	k.beginSettling(ctx)
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (k *keeper) setRun(r *run) {
	k.run = r
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lively = nil
	if r != nil {
		k.lively = r.Alive
	}
}

// stop ends what runs. A run that does not end in time stays, so that no other is
// started beside it.
func (k *keeper) stop() error {
	if k.run == nil {
		return nil
	}
	k.unsettle()
	k.run.stopped = true
	k.run.cancel()
	late := time.NewTimer(endTime)
	defer late.Stop()
	select {
	case <-k.run.ended:
		k.setRun(nil)
		return nil
	case <-late.C:
		k.note(func(s *control.PartStatus) { s.State, s.LastError = control.PartStuck, errStuck.Error() })
		return errStuck
	}
}

// beginSettling has what runs read back, unless that is done or under way.
func (k *keeper) beginSettling(ctx context.Context) {
	r := k.run
	switch {
	case r.settled || r.settle != nil || !k.settles.due(r.config, time.Now()):
		return
	case r.Settle == nil:
		r.settled = true
		return
	}
	k.settles.begun()
	ctx, cancel := context.WithCancel(ctx)
	r.settle = &settling{cancel: cancel, done: make(chan error, 1)}
	go func(done chan<- error) { done <- guard(func() error { return r.Settle(ctx) }) }(r.settle.done)
}

// unsettle gives the wait for what was in force up.
func (k *keeper) unsettle() {
	k.run.settled, k.run.refused = false, nil
	k.settles.done()
	if k.run.settle != nil {
		k.run.settle.cancel()
		k.run.settle = nil
	}
}

// conclude notes what came of a look.
func (k *keeper) conclude(generation uint64, err error) {
	k.note(func(s *control.PartStatus) {
		s.NextTry = k.starts.at
		switch {
		case err != nil:
			s.Behind, s.LastError = err.Error(), err.Error()
			if k.run == nil && s.State != control.PartStuck {
				s.State = control.PartWaiting
			}
		case k.run == nil:
			s.State, s.Behind, s.Generation, s.Retries = control.PartOff, "", generation, 0
		default:
			s.State, s.Behind = control.PartRunning, k.run.behind()
			if k.run.settled {
				s.Generation = generation
			}
		}
	})
}

// await waits until there is something to look at.
func (k *keeper) await(ctx context.Context) {
	var ended, settled chan error
	if k.run != nil {
		ended = k.run.ended
		if k.run.settle != nil {
			settled = k.run.settle.done
		}
	}
	again := k.nextTry()
	defer again.Stop()
	select {
	case <-ctx.Done():
	case <-k.wake.C():
	case <-again.C:
	case <-k.hung:
		k.hung = nil
	case err := <-ended:
		k.over(err)
	case err := <-settled:
		k.run.settle, k.run.settled, k.run.refused = nil, err == nil, err
		if err == nil {
			k.settles.done()
			break
		}
		k.settles.failed(k.run.config, time.Now())
		k.note(func(s *control.PartStatus) { s.LastError = err.Error() })
	}
}

// nextTry returns a timer for the next thing that is tried again; one that never
// fires when nothing is.
func (k *keeper) nextTry() *time.Timer {
	var at time.Time
	for _, r := range []*retry{&k.starts, &k.settles} {
		if r.waits() && (at.IsZero() || r.at.Before(at)) {
			at = r.at
		}
	}
	if at.IsZero() {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(time.Until(at))
}

// over notes the end of a run.
func (k *keeper) over(err error) {
	r := k.run
	k.unsettle()
	r.cancel()
	k.setRun(nil)
	if r.stopped {
		k.starts.done() // it was stuck, and may be started again
		return
	}
	if time.Since(r.began) >= healthyAfter {
		k.starts.done()
	}
	k.failed(r.config, err)
	k.note(func(s *control.PartStatus) { s.State = control.PartWaiting })
}

// call calls f, which has a limited time; 0: until ctx ends. While one that has not
// returned even after that is out, nothing else is asked of the unit.
func (k *keeper) call(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	cancel := context.CancelFunc(func() {})
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guard(func() error { return f(ctx) }) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(endTime)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		k.hung = done
		k.note(func(s *control.PartStatus) { s.State, s.LastError = control.PartStuck, errStuck.Error() })
		return errStuck
	}
}

// guard calls f. A panic is that unit's alone.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
