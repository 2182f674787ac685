package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// spread is the time between two phones that are powered on one after the other.
const spread = 20 * time.Millisecond

// Options of a fleet.
type Options struct {
	Interface string
	Storm     bool          // power all on at the same instant
	Register  bool          // register each line
	Release   bool          // give the addresses back at the end
	Insecure  bool          // take any certificate over https
	Timeout   time.Duration // for all
}

// Fleet is phones on one card.
type Fleet struct {
	opts     Options
	link     *link
	handsets []*handset
	lost     atomic.Uint32
}

// Lost returns how many frames the simulator itself was too slow for, known when
// Run has returned.
func (f *Fleet) Lost() uint32 { return f.lost.Load() }

// New plugs phones in; they are off. The card must exist and be up.
func New(phones []Phone, opts Options) (*Fleet, error) {
	seen := make(map[mac]bool)
	for _, p := range phones {
		if len(p.MAC) != 6 || p.MAC[0]&1 != 0 {
			return nil, fmt.Errorf("%q is no phone's MAC address", p.MAC)
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
	f := &Fleet{opts: opts, link: l}
	for _, p := range phones {
		f.handsets = append(f.handsets, newHandset(p, opts, l))
	}
	if err := l.narrow(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return f, nil
}

// Run powers the phones on and returns when each has its line or has given up.
func (f *Fleet) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	received := make(chan error, 1)
	go func() {
		err := f.link.receive()
		stop(err)
		received <- err
	}()
	var running sync.WaitGroup
	for i, h := range f.handsets {
		if i > 0 && !f.opts.Storm {
			select {
			case <-ctx.Done():
			case <-time.After(spread):
			}
		}
		running.Go(func() { h.run(ctx) })
	}
	running.Wait()
	lost, err := f.link.lost()
	f.lost.Store(lost)
	return errors.Join(err, f.link.close(), <-received)
}

// Results returns how each phone is now; it may be called while Run runs.
func (f *Fleet) Results() []Result {
	out := make([]Result, 0, len(f.handsets))
	for _, h := range f.handsets {
		out = append(out, *h.now.Load())
	}
	return out
}

// Percentiles of one stage, from the moment of power on.
type Percentiles struct {
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

// Summary is how the fleet fared.
type Summary struct {
	Phones   int                    `json:"phones"`
	Failed   int                    `json:"failed"`
	Repeated int                    `json:"dhcp_retransmissions"`
	Stages   map[string]Percentiles `json:"stages"`
}

// Summarize adds results up.
func Summarize(results []Result) Summary {
	s := Summary{Phones: len(results), Stages: make(map[string]Percentiles)}
	times := make(map[string][]time.Duration)
	for _, r := range results {
		s.Repeated += r.Repeated
		if r.State == Failed || r.State == Off {
			s.Failed++
			continue
		}
		for name, d := range map[string]time.Duration{"dhcp": r.DHCP, "files": r.Fetched, "register": r.Register, "total": r.Total} {
			if d > 0 {
				times[name] = append(times[name], d)
			}
		}
	}
	for name, d := range times {
		slices.Sort(d)
		at := func(p int) time.Duration { return d[min(len(d)*p/100, len(d)-1)] }
		s.Stages[name] = Percentiles{P50: at(50), P90: at(90), P99: at(99), Max: d[len(d)-1]}
	}
	return s
}
