package stacks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

const (
	// extraTick is how often it is looked whether an extra is due.
	extraTick = 5 * time.Second
	// How long an extra that failed is left alone, at first and at most.
	firstExtraDelay, maxExtraDelay = time.Minute, 6 * time.Hour
	// extraTime bounds one try.
	extraTime = 10 * time.Minute
)

// extra is how far one of a stack's extras is.
type extra struct {
	done    bool
	digest  string
	missing string
	delay   time.Duration
	next    time.Time
	said    string // why it failed last
}

// runExtras adds what stacks are better off with. It takes no part in the work on
// the stack: an app store that cannot be reached holds nobody up.
func (s *stack) runExtras(ctx context.Context) {
	tick := time.NewTicker(extraTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if k, ok := s.kind().(kind.Extender); ok && s.current().State == Healthy {
			for _, e := range k.Extras() {
				s.addExtra(ctx, e)
			}
		}
	}
}

func (s *stack) addExtra(ctx context.Context, e kind.Extra) {
	s.mu.Lock()
	x := s.extras[e.Name]
	s.mu.Unlock()
	if x.digest != e.Digest {
		x = extra{digest: e.Digest}
	}
	if x.done || time.Now().Before(x.next) {
		return
	}
	p, err := s.render(s.images())
	if err == nil {
		try, cancel := context.WithTimeout(ctx, extraTime)
		err = e.Add(try, s.inside(p, "extra"))
		cancel()
	}
	if ctx.Err() != nil {
		return
	}
	x.done, x.missing, x.said = err == nil, e.Missing, ""
	if err != nil {
		x.delay = min(max(2*x.delay, firstExtraDelay), maxExtraDelay)
		x.next, x.said = time.Now().Add(x.delay), err.Error()
		var p *Problem
		if errors.As(err, &p) {
			x.said = p.What
		}
		s.log.Warn(e.Missing, "err", err, "again in", x.delay)
	}
	s.mu.Lock()
	s.extras[e.Name] = x
	s.mu.Unlock()
}

// forgetExtras has all extras looked at again: another version may lack them.
func (s *stack) forgetExtras() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.extras)
}

// extraNotes are why extras are missing. The caller holds mu.
func (s *stack) extraNotes() (out []kind.Note) {
	for _, name := range slices.Sorted(maps.Keys(s.extras)) {
		if x := s.extras[name]; x.said != "" {
			out = append(out, kind.Note{What: x.missing + ": " + x.said, Fix: "it is tried again by itself"})
		}
	}
	return out
}
