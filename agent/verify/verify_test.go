package verify

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// suite is fixed checks.
type suite struct {
	checks []Check
	err    error
	closed int
}

func (s *suite) Checks() []Check { return s.checks }

func (s *suite) Close(context.Context) error {
	s.closed++
	return s.err
}

func TestRun(t *testing.T) {
	fixed := func(name string, f Found) Check {
		return Check{Name: name, What: name + " works", Try: func(context.Context) Found { return f }}
	}
	first := &suite{checks: []Check{
		fixed("a", seen("%d of 2", 2)), fixed("b", wrong("mend it", "b is broken")), fixed("c", notTried("there is no c")),
	}}
	second := &suite{checks: []Check{fixed("d", seen("d"))}, err: errors.New("cannot remove d")}
	v := Run(t.Context(), slog.New(slog.DiscardHandler), first, second)
	for i := range v.Checks {
		v.Checks[i].Took = 0
	}
	want := []control.Checked{
		{Check: "a", What: "a works", Outcome: control.Passed, Seen: "2 of 2"},
		{Check: "b", What: "b works", Outcome: control.Failed, Problems: []problem.Problem{{Severity: problem.Error, Part: "b", What: "b is broken", Fix: "mend it"}}},
		{Check: "c", What: "c works", Outcome: control.NotTried, Seen: "there is no c"},
		{Check: "d", What: "d works", Outcome: control.Passed, Seen: "d"},
		tidied(second.err),
	}
	if diff := cmp.Diff(want, v.Checks); diff != "" {
		t.Error(diff)
	}
	if v.Passed || v.Started.IsZero() || first.closed != 1 || second.closed != 1 {
		t.Errorf("passed %v, started %v, closed %d and %d times", v.Passed, v.Started, first.closed, second.closed)
	}

	var last Last
	if err := testutil.CollectAndCompare(&last, strings.NewReader(`
# HELP sae_verify_last_run_timestamp_seconds When sae-agent verify was run for the last time; 0: not since the start.
# TYPE sae_verify_last_run_timestamp_seconds gauge
sae_verify_last_run_timestamp_seconds 0
`)); err != nil {
		t.Error(err)
	}
	last.Note(v)
	if err := testutil.CollectAndCompare(&last, strings.NewReader(`
# HELP sae_verify_success 1 if the check passed the last time that sae-agent verify tried it, 0 if it failed.
# TYPE sae_verify_success gauge
sae_verify_success{check="a"} 1
sae_verify_success{check="b"} 0
sae_verify_success{check="d"} 1
sae_verify_success{check="tidy"} 0
`), "sae_verify_success"); err != nil {
		t.Error(err)
	}
}

// Checks that were interrupted are closed in good order all the same.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := &suite{checks: []Check{
		{Name: "a", What: "a", Try: func(ctx context.Context) Found {
			stop()
			return wrong("try again", "a: %v", ctx.Err())
		}},
		{Name: "b", What: "b", Try: func(context.Context) Found {
			t.Error("b is tried after the end")
			return Found{}
		}},
	}}
	if v := Run(ctx, slog.New(slog.DiscardHandler), s); v.Passed || len(v.Checks) != 1 || s.closed != 1 {
		t.Errorf("%+v, closed %d times", v, s.closed)
	}
}
