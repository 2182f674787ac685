package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/netcfg"
)

// rollbackJob is the name of the timer that undoes what nobody confirms.
const rollbackJob = "sae-agent-rollback"

// MaxConfirm is the longest time that a change may wait for its confirmation.
const MaxConfirm = 24 * time.Hour

// nothingPending is an error while a change waits for its confirmation. The caller
// holds a.mu.
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
// before anything is recorded: without it there is no way back. The caller holds
// a.mu.
func (a *Agent) probation(ctx context.Context, data []byte, d time.Duration) (until time.Time, e history.Entry, err error) {
	if d > MaxConfirm {
		return until, e, &control.Error{Code: http.StatusUnprocessableEntity, Message: fmt.Sprintf("a change may wait %v at most", MaxConfirm)}
	}
	if a.opts.Runner == nil {
		return until, e, &control.Error{Code: http.StatusNotImplemented, Message: "this daemon cannot undo changes by itself: apply without --confirm"}
	}
	if err := a.opts.Runner.After(ctx, rollbackJob, d, a.opts.RollbackCommand(a.applied.entry.Seq+1)); err != nil {
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

// Confirm answers control.ConfirmConfig: what waits for it is kept.
func (a *Agent) Confirm(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.history.Pending()
	if err != nil {
		return err
	}
	if p == nil {
		return &control.Error{Code: http.StatusConflict, Message: "nothing waits for a confirmation: it may have been undone already, see 'sae-agent rollback --list'"}
	}
	if err := a.history.Confirm(); err != nil {
		return err
	}
	a.log.Info("configuration confirmed", "number", p.Seq)
	a.disarm(ctx)
	a.bringInLine() // what waited for this, and the ruleset to start the machine with
	return nil
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

// Rollback answers control.RollbackConfig. The operator's file stays as it is.
func (a *Agent) Rollback(ctx context.Context, o control.RollbackOptions) (control.Plan, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	target, err := findTarget(a.history, o)
	if err != nil || target == nil {
		return control.Plan{}, err
	}
	data, err := a.history.Read(*target)
	if err != nil {
		return control.Plan{}, err
	}
	next, err := a.prepare(config.Options{}, fmt.Sprintf("configuration %d", target.Seq), data)
	if err != nil {
		return control.Plan{}, err
	}
	plan := a.plan(ctx, next)
	if next.entry, err = goTo(a.history, *target, data); err != nil {
		return control.Plan{}, err
	}
	a.disarm(ctx)
	a.run(next)
	a.log.Warn("went back to an earlier configuration", "to", target.Seq, "number", next.entry.Seq)
	return plan, nil
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

// adopt takes over what a rollback without the daemon has recorded while this one
// was starting. The caller holds a.mu.
func (a *Agent) adopt() {
	entry, data, err := a.history.Current()
	if err != nil || (entry.Seq == a.applied.entry.Seq && entry.AppliedAt.Equal(a.applied.entry.AppliedAt)) {
		return // what runs goes on, whatever became of the record
	}
	next, err := a.prepare(config.Options{}, fmt.Sprintf("configuration %d", entry.Seq), data)
	if err != nil {
		a.log.Error("cannot go over to the recorded configuration", "number", entry.Seq, "err", err)
		return
	}
	next.entry = entry
	a.setApplied(next)
	a.log.Warn("going over to the recorded configuration", "number", entry.Seq)
}

// History answers control.ListHistory.
func (a *Agent) History(context.Context) ([]control.Applied, error) { return kept(a.history) }

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

// Offline does without the daemon what can be done so: going back to an earlier
// configuration, and having the cards follow it.
type Offline struct {
	StateDir   string
	RuntimeDir string
	ResolvConf string
	Logger     *slog.Logger
}

func (o Offline) history() (*history.History, error) {
	return history.Open(filepath.Join(o.StateDir, "configs"), o.RuntimeDir)
}

// History lists the configurations that are kept, newest last.
func (o Offline) History() ([]control.Applied, error) {
	h, err := o.history()
	if err != nil {
		return nil, err
	}
	return kept(h)
}

// Rollback makes an earlier configuration the one that the daemon will start with,
// and brings the cards in line now. It reports whether there was something to do.
func (o Offline) Rollback(ctx context.Context, ro control.RollbackOptions) (bool, error) {
	h, err := o.history()
	if err != nil {
		return false, err
	}
	target, err := findTarget(h, ro)
	if err != nil || target == nil {
		return false, err
	}
	data, err := h.Read(*target)
	if err != nil {
		return false, err
	}
	if _, err := goTo(h, *target, data); err != nil {
		return false, err
	}
	return true, o.bringInLine(ctx, data)
}

// Boot makes the last confirmed configuration the one that runs, and puts its
// ruleset and the bans in force, before the network comes up. It reports whether a
// change was undone. Neither failure keeps it from the other thing.
func (o Offline) Boot(ctx context.Context, now time.Time) (undone bool, err error) {
	h, err := o.history()
	if err == nil {
		undone, err = h.UndoOverdue(now)
	}
	_, rules := firewall.Restore(ctx, filepath.Join(o.StateDir, "firewall"))
	return undone, errors.Join(err, rules)
}

// bringInLine has cards and ruleset follow a configuration.
func (o Offline) bringInLine(ctx context.Context, data []byte) error {
	cfg, _, err := config.Options{ModelKnown: ModelKnown}.Parse("the earlier configuration", data)
	if err != nil {
		return err
	}
	return errors.Join(
		netcfg.Once(ctx, desiredNetwork(cfg, o.StateDir), netcfg.Options{Logger: o.Logger, ResolvConf: o.ResolvConf}),
		o.bringFirewallInLine(ctx, cfg),
	)
}
