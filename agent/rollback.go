package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/history"
)

// rollbackJob is the name of the timer that undoes what nobody confirms.
const rollbackJob = "sae-agent-rollback"

// MaxConfirm is the longest time that a change may wait for its confirmation.
const MaxConfirm = 24 * time.Hour

// nothingPending is an error while a change waits for its confirmation.
func (a *Agent) nothingPending() error {
	p, err := a.history.Pending()
	if err != nil || p == nil {
		return err
	}
	return &control.Error{Code: http.StatusConflict, Message: fmt.Sprintf(
		"configuration %d waits for its confirmation until %s: first keep it with 'sae-agent confirm', or undo it with 'sae-agent rollback'",
		p.Seq, p.Deadline.Local().Format(time.TimeOnly))}
}

// probation records a configuration that is undone after d. The timer is armed
// before anything is recorded: without it there is no way back.
func (a *Agent) probation(ctx context.Context, data []byte, d time.Duration) (until time.Time, e history.Entry, err error) {
	if d > MaxConfirm {
		return until, e, &control.Error{Code: http.StatusUnprocessableEntity, Message: fmt.Sprintf("a change may wait %v at most", MaxConfirm)}
	}
	if a.opts.Runner == nil {
		return until, e, &control.Error{Code: http.StatusNotImplemented, Message: "this daemon cannot undo changes by itself: apply without --confirm"}
	}
	if err := a.opts.Runner.After(ctx, rollbackJob, d, a.opts.RollbackCommand(a.current.Load().entry.Seq+1)); err != nil {
		return until, e, fmt.Errorf("nothing was changed, the way back could not be prepared: %w", err)
	}
	now := time.Now()
	until = now.Add(d)
	e, err = a.history.AddPending(data, now, until)
	if err != nil {
		return until, e, errors.Join(err, a.opts.Runner.Cancel(ctx, rollbackJob))
	}
	return until, e, nil
}

// confirm keeps what waits for it.
func (a *Agent) confirm(ctx context.Context, _ control.None) (control.None, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	p, err := a.history.Pending()
	if err != nil {
		return control.None{}, err
	}
	if p == nil {
		return control.None{}, &control.Error{Code: http.StatusConflict, Message: "nothing waits for a confirmation: it may have been undone already, see 'sae-agent rollback --list'"}
	}
	if err := a.history.Confirm(); err != nil {
		return control.None{}, err
	}
	a.log.Info("configuration confirmed", "number", p.Seq)
	a.disarm(ctx)
	// What waited for this is done now, and the ruleset to start the machine with.
	return control.None{}, a.run(*a.current.Load())
}

// disarm takes the timer back. One that cannot be taken back finds nothing to undo.
func (a *Agent) disarm(ctx context.Context) {
	if a.opts.Runner == nil {
		return
	}
	if err := a.opts.Runner.Cancel(ctx, rollbackJob); err != nil {
		a.log.Warn("the rollback timer goes on, and will do nothing", "err", err)
	}
}

// rollback goes back to an earlier configuration. The operator's file stays as it is.
func (a *Agent) rollback(ctx context.Context, o control.RollbackOptions) (control.Plan, error) {
	plan, err := a.goBack(ctx, o)
	if err != nil || plan == nil {
		return control.Plan{}, err
	}
	plan.Behind = a.settle(ctx)
	return *plan, nil
}

// goBack makes an earlier configuration the one that runs; nil: there was nothing to do.
func (a *Agent) goBack(ctx context.Context, o control.RollbackOptions) (*control.Plan, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	target, err := findTarget(a.history, o)
	if err != nil || target == nil {
		return nil, err
	}
	data, err := a.history.Read(*target)
	if err != nil {
		return nil, err
	}
	next, err := parseAccepted(*target, data)
	if err != nil {
		return nil, err
	}
	// What waits for its confirmation goes anyway, back to where the session was opened.
	pending, err := a.history.Pending()
	if err != nil {
		return nil, err
	}
	if pending == nil && !o.Force {
		if err := a.keepsOperators(ctx, next.Input); err != nil {
			return nil, err
		}
	}
	plan := a.plan(ctx, next)
	if next.entry, err = goTo(a.history, *target, data); err != nil {
		return nil, err
	}
	a.disarm(ctx)
	if err := a.run(next); err != nil {
		return nil, err
	}
	a.log.Warn("went back to an earlier configuration", "to", target.Seq, "number", next.entry.Seq)
	return &plan, nil
}

// findTarget returns the configuration to go back to; nil when there is nothing to do.
func findTarget(h *history.History, o control.RollbackOptions) (*history.Entry, error) {
	p, err := h.Pending()
	if err != nil {
		return nil, err
	}
	if o.Pending != 0 && (p == nil || p.Seq != o.Pending) {
		return nil, nil
	}
	if o.Number != 0 {
		e, err := h.Find(o.Number)
		if errors.Is(err, history.ErrNotKept) {
			return nil, &control.Error{Code: http.StatusNotFound, Message: err.Error() + ": see 'sae-agent rollback --list'"}
		}
		return &e, err
	}
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	if len(all) < 2 {
		return nil, &control.Error{Code: http.StatusConflict, Message: "there is no earlier configuration"}
	}
	return &all[len(all)-2], nil
}

// goTo makes an earlier configuration the newest: what is on probation goes, and
// whatever else came after the target stays in the history.
func goTo(h *history.History, target history.Entry, data []byte) (history.Entry, error) {
	if _, err := h.Undo(); err != nil {
		return history.Entry{}, err
	}
	current, _, err := h.Current()
	if err != nil || current.Seq == target.Seq {
		return current, err
	}
	return h.Add(data, time.Now())
}

// adopt takes over what a rollback without the daemon has recorded.
func (a *Agent) adopt() {
	if !a.changes.TryLock() {
		return // somebody changes it just now
	}
	defer a.changes.Unlock()
	entry, data, err := a.history.Current()
	if current := a.current.Load().entry; err != nil || entry.Seq == current.Seq && entry.AppliedAt.Equal(current.AppliedAt) {
		return // what runs goes on, whatever became of the record
	}
	next, err := parseAccepted(entry, data)
	if err == nil {
		err = a.run(next)
	}
	if err != nil {
		a.log.Error("cannot go over to the recorded configuration", "number", entry.Seq, "err", err)
		return
	}
	a.log.Warn("going over to the recorded configuration", "number", entry.Seq)
}

func kept(h *history.History) ([]control.Applied, error) {
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	p, err := h.Pending()
	if err != nil {
		return nil, err
	}
	out := []control.Applied{}
	for i, e := range all {
		data, err := h.Read(e)
		if err != nil {
			return nil, err
		}
		out = append(out, control.Applied{
			Number: e.Seq, AppliedAt: e.AppliedAt, Hash: history.Hash(data), Runs: i == len(all)-1, Pending: p != nil && p.Seq == e.Seq,
		})
	}
	return out, nil
}
