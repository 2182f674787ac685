// Package supervisor keeps the parts of the appliance running.
//
// One part failing never stops another: a part that returns, fails to build or
// panics is started again with back-off, and its status says so. The package
// knows nothing of what a part does.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sort"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Back-off between two starts of a part. The first retry is quick because most
// failures at start are races with another part (an address that is not there yet).
const (
	firstDelay = 250 * time.Millisecond
	maxDelay   = 30 * time.Second
	// A part that ran this long is healthy again: its next failure starts at firstDelay.
	healthyAfter = time.Minute
)

// Part is something that runs until its context ends.
//
// Run MUST return soon after ctx is done, and MUST NOT leave goroutines behind.
// A nil error while ctx is not done counts as a failure: parts run for ever.
type Part interface {
	Run(ctx context.Context) error
}

// Build makes a part. It is called again for every start, so that a part that
// failed gets fresh sockets and state.
type Build func(ctx context.Context) (Part, error)

// Supervisor runs parts by name. Its methods may be called from any goroutine.
type Supervisor struct {
	ctx context.Context
	log *slog.Logger
	wg  sync.WaitGroup

	changes sync.Mutex // serialises Set and Remove

	mu    sync.Mutex // guards the following
	slots map[string]*slot
}

type slot struct {
	cancel context.CancelFunc
	done   chan struct{}
	status control.PartStatus // guarded by Supervisor.mu
}

// New returns a supervisor whose parts all stop when ctx ends.
func New(ctx context.Context, log *slog.Logger) *Supervisor {
	return &Supervisor{ctx: ctx, log: log, slots: make(map[string]*slot)}
}

// Set starts the named part, in place of the one that had the name: the old one
// has stopped before the new one is built, so that they never fight for a port.
func (s *Supervisor) Set(name string, build Build) {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.stop(name)
	ctx, cancel := context.WithCancel(s.ctx)
	sl := &slot{cancel: cancel, done: make(chan struct{}), status: control.PartStatus{Name: name, State: control.PartRunning, Since: time.Now()}}
	s.mu.Lock()
	s.slots[name] = sl
	s.mu.Unlock()
	s.wg.Go(func() {
		defer close(sl.done)
		s.keep(ctx, sl, build)
	})
}

// Remove stops the named part and forgets it. It is no error if there is none.
func (s *Supervisor) Remove(name string) {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.stop(name)
}

// stop ends the named part and waits for it. The caller holds s.changes.
func (s *Supervisor) stop(name string) {
	s.mu.Lock()
	sl := s.slots[name]
	delete(s.slots, name)
	s.mu.Unlock()
	if sl == nil {
		return
	}
	sl.cancel()
	<-sl.done
}

// Wait returns when the supervisor's context has ended and every part has stopped.
func (s *Supervisor) Wait() {
	<-s.ctx.Done()
	s.wg.Wait()
}

// Status returns the parts' states, sorted by name.
func (s *Supervisor) Status() []control.PartStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]control.PartStatus, 0, len(s.slots))
	for _, sl := range s.slots {
		out = append(out, sl.status)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// keep runs one part for as long as ctx lives.
func (s *Supervisor) keep(ctx context.Context, sl *slot, build Build) {
	delay := firstDelay
	for {
		started := time.Now()
		err := runOnce(ctx, build)
		if ctx.Err() != nil {
			s.note(sl, func(st *control.PartStatus) { st.State = control.PartStopped })
			return
		}
		if time.Since(started) >= healthyAfter {
			delay = firstDelay
		}
		s.log.Error("part failed, it will be started again", "part", sl.status.Name, "err", err, "in", delay)
		s.note(sl, func(st *control.PartStatus) {
			st.State, st.LastError, st.NextTry = control.PartWaiting, err.Error(), time.Now().Add(delay)
		})
		if !sleep(ctx, delay) {
			s.note(sl, func(st *control.PartStatus) { st.State = control.PartStopped })
			return
		}
		delay = min(2*delay, maxDelay)
		s.note(sl, func(st *control.PartStatus) {
			st.State, st.NextTry = control.PartRunning, time.Time{}
			st.Retries++
		})
	}
}

func (s *Supervisor) note(sl *slot, change func(*control.PartStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&sl.status)
	sl.status.Since = time.Now()
}

var errReturned = errors.New("it ended without being asked to")

func runOnce(ctx context.Context, build Build) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	part, err := build(ctx)
	if err != nil {
		return err
	}
	if err := part.Run(ctx); err != nil {
		return err
	}
	return errReturned
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
