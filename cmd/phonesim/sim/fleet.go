package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// spread is the time between two phones that are powered on one after the other.
	spread = 20 * time.Millisecond
	// leaveTime is how long phones may take to give back what they hold.
	leaveTime = 5 * time.Second
)

// Options of a fleet.
type Options struct {
	Interface string
	Storm     bool          // power all on at the same instant
	Register  bool          // register each line
	Calls     int           // test calls between registered phones, if there are so many pairs
	Stay      bool          // stay on until Run is told to end
	Release   bool          // unregister and give the addresses back at the end
	Insecure  bool          // take any certificate over https and SIP over TLS
	Timeout   time.Duration // for all
}

// Fleet is phones on one card.
type Fleet struct {
	opts     Options
	link     *link
	handsets []*handset
	rested   chan struct{}

	mu    sync.Mutex // guards the following
	lost  uint32     // frames that came faster than they were read
	calls []Call     // those that are over, by the number of the caller
}

// New plugs phones in; they are off. The card must exist and be up. Run must follow.
func New(phones []Phone, opts Options) (*Fleet, error) {
	seen := make(map[mac]bool)
	for _, p := range phones {
		if len(p.MAC) != 6 || p.MAC[0]&1 != 0 {
			return nil, fmt.Errorf("%v is no phone's MAC address", p.MAC)
		}
		if seen[mac(p.MAC)] {
			return nil, fmt.Errorf("two phones have the MAC %v", p.MAC)
		}
		seen[mac(p.MAC)] = true
	}
	l, err := openLink(opts.Interface)
	if err != nil {
		return nil, err
	}
	f := &Fleet{opts: opts, link: l, rested: make(chan struct{})}
	for i, p := range phones {
		h := newHandset(p, opts, l)
		h.tone = toneOf(i)
		f.handsets = append(f.handsets, h)
	}
	if err := l.narrow(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return f, nil
}

// Run powers the phones on, has them call each other if told to, and returns when
// each has its line or has given up; if they are to stay, when ctx ends. What phones
// fail at is in their results; an error is of the card, of calls that cannot be made,
// or of leaving.
func (f *Fleet) Run(ctx context.Context) error {
	late := fmt.Errorf("not done %v after the first phone was powered on", f.opts.Timeout)
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	boot, cancel := context.WithTimeoutCause(working, f.opts.Timeout, late)
	defer cancel()
	received := make(chan error, 1)
	go func() {
		err := f.link.receive()
		stop(err)
		received <- err
	}()
	f.powerOn(boot)
	var err error
	if f.opts.Calls > 0 && working.Err() == nil {
		err = f.makeCalls(working)
	}
	close(f.rested)
	if f.opts.Stay {
		f.stay(working)
	}
	err = errors.Join(err, f.leave(ctx))
	lost, lostErr := f.link.lost()
	f.mu.Lock()
	f.lost = lost
	f.mu.Unlock()
	return errors.Join(err, lostErr, f.link.close(), <-received)
}

// Rested is closed when each phone has its line or has given up, and calls are over.
func (f *Fleet) Rested() <-chan struct{} { return f.rested }

func (f *Fleet) powerOn(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for i, h := range f.handsets {
		if i > 0 && !f.opts.Storm {
			select {
			case <-ctx.Done():
			case <-time.After(spread):
			}
		}
		running.Go(func() { h.run(ctx) })
	}
}

// leave unplugs the phones, in good order if they are to release what they hold.
func (f *Fleet) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	errs := make([]error, len(f.handsets))
	var leaving sync.WaitGroup
	for i, h := range f.handsets {
		leaving.Go(func() {
			defer h.close()
			if f.opts.Release {
				errs[i] = h.leave(ctx)
			}
		})
	}
	leaving.Wait()
	return errors.Join(errs...)
}

// Results returns how each phone is now; it may be called while Run runs.
func (f *Fleet) Results() []Result {
	out := make([]Result, 0, len(f.handsets))
	for _, h := range f.handsets {
		out = append(out, *h.now.Load())
	}
	return out
}

// Summary adds up how the fleet is now; it may be called while Run runs.
func (f *Fleet) Summary() Summary {
	s := summarize(f.Results())
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Lost = f.lost
	return s
}
