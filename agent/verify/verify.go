// Package verify does for real what a person does at the end of an installation:
// it calls, listens, looks, and says in words what does not work.
//
// A Check tries one thing. Checks that need the same things belong to a Suite. The
// package knows neither the configuration nor who runs the exchange.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// checkTime bounds one check; the slowest take seconds.
const checkTime = 3 * time.Minute

// Check tries one thing.
type Check struct {
	Name string // a word, for scripts and metrics
	What string // what is tried, in words
	Try  func(ctx context.Context) Found
}

// Found is what a check has found: problems, or that there are none.
type Found struct {
	Seen     string // in words
	NotTried bool   // Seen says why
	Problems []problem.Problem
}

// Suite is checks that need the same things.
type Suite interface {
	// Checks returns the checks in the order in which to make them. What they need is
	// made by the first one that needs it.
	Checks() []Check
	// Close takes away what the checks have made. It is called once, after the checks
	// and also when they were interrupted.
	Close(ctx context.Context) error
}

// Run makes the checks of all suites, one after the other.
func Run(ctx context.Context, log *slog.Logger, suites ...Suite) control.Verification {
	v := control.Verification{Started: time.Now().Round(time.Second), Passed: true}
	start := time.Now()
	for _, s := range suites {
		for _, c := range s.Checks() {
			if ctx.Err() == nil {
				v.Checks = append(v.Checks, try(ctx, log, c))
			}
		}
		if err := s.Close(context.WithoutCancel(ctx)); err != nil {
			v.Checks = append(v.Checks, tidied(err))
		}
	}
	v.Passed = !slices.ContainsFunc(v.Checks, func(c control.Checked) bool { return c.Outcome == control.Failed })
	v.Took = time.Since(start)
	return v
}

// try makes one check.
func try(ctx context.Context, log *slog.Logger, c Check) control.Checked {
	out := control.Checked{Check: c.Name, What: c.What, Outcome: control.Passed}
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("it took more than %v", checkTime))
	defer cancel()
	start := time.Now()
	found := c.Try(ctx)
	out.Took, out.Seen, out.Problems = time.Since(start), found.Seen, found.Problems
	switch {
	case len(found.Problems) > 0:
		out.Outcome = control.Failed
	case found.NotTried:
		out.Outcome = control.NotTried
	}
	for i := range out.Problems {
		p := &out.Problems[i]
		p.Part, p.Severity = c.Name, problem.Error
		log.Warn("verify: a check failed", "check", c.Name, "what", p.What)
	}
	return out
}

// tidied is the check that nothing is left behind, when something is.
func tidied(err error) control.Checked {
	return control.Checked{
		Check: "tidy", What: "what was made for the checks is removed", Outcome: control.Failed,
		Problems: []problem.Problem{{
			Severity: problem.Error, Part: "tidy", What: err.Error(), Fix: "sae-agent apply removes it; sae-agent status says what keeps it from doing so",
		}},
	}
}

// seen is a check that passed.
func seen(format string, args ...any) Found { return Found{Seen: fmt.Sprintf(format, args...)} }

// notTried is a check for which there was no reason, or no way.
func notTried(format string, args ...any) Found {
	return Found{Seen: fmt.Sprintf(format, args...), NotTried: true}
}

// wrong is a check that failed.
func wrong(fix, format string, args ...any) Found {
	return Found{Problems: []problem.Problem{{What: fmt.Sprintf(format, args...), Fix: fix}}}
}

// ErrBusy says that checks are being made already.
var ErrBusy = errors.New("the checks are being made already: wait for their end")
