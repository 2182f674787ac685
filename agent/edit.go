package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/durable"
)

// Edit implements part.Host.
func (h host) Edit(ctx context.Context, o control.EditOptions, change func(*edit.File) error) (control.Plan, error) {
	plan, err := h.editFile(ctx, o, change)
	if err != nil || o.DryRun {
		return plan, err
	}
	plan.Behind = h.settle(ctx)
	return plan, nil
}

// Renew implements part.Host.
func (h host) Renew(ctx context.Context, names ...string) ([]control.Behind, error) {
	if err := h.renew(names); err != nil {
		return nil, err
	}
	return h.settle(ctx), nil
}

func (h host) renew(names []string) error {
	h.changes.Lock()
	defer h.changes.Unlock()
	if err := h.nothingPending(); err != nil {
		return err
	}
	if err := h.secrets.Renew(names...); err != nil {
		return err
	}
	return h.run(*h.current.Load())
}

// editFile changes the operator's file and runs it. Nothing is written before it is
// known that the result can run.
func (a *Agent) editFile(ctx context.Context, o control.EditOptions, change func(*edit.File) error) (control.Plan, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	if err := a.nothingPending(); err != nil {
		return control.Plan{}, err
	}
	path, old, err := followFile(a.opts.Config)
	if err != nil {
		return control.Plan{}, err
	}
	// What runs is edited, never text that nobody applied, or that was taken back.
	running := a.current.Load().data
	unapplied := !bytes.Equal(old, running)
	if unapplied && !o.DiscardEdits {
		return control.Plan{}, notApplied(path, a.Running().Config, old)
	}
	f, err := edit.Parse(running)
	if err == nil {
		err = change(f)
	}
	if err != nil {
		return control.Plan{}, control.Unprocessable(err)
	}
	next, err := a.checked(ctx, path, f.Bytes())
	if err != nil {
		return control.Plan{}, err
	}
	plan := a.plan(ctx, next)
	if o.DryRun || bytes.Equal(next.data, running) && !unapplied {
		return plan, nil
	}
	if unapplied {
		if err := durable.WriteFileLike(path, path+".old", old); err != nil {
			return control.Plan{}, err
		}
	}
	if err := durable.WriteFileLike(path, path, next.data); err != nil {
		return control.Plan{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if next.entry, err = a.history.Add(next.data, time.Now()); err != nil {
		return control.Plan{}, errors.Join(fmt.Errorf("nothing was changed: %w", err), durable.WriteFileLike(path, path, old))
	}
	a.log.Info("configuration file edited and applied", "changes", len(plan.Config), "number", next.entry.Seq)
	return plan, a.run(next)
}

// notApplied says what in the file was not applied.
func notApplied(path string, running *config.Config, data []byte) error {
	e := &control.Error{Code: http.StatusConflict, Message: path + " has edits that were not applied: 'sae-agent apply' runs them; " +
		"--discard-edits begins with what runs, and keeps them beside it, in a file that ends with .old"}
	next, err := parseFile(path, data)
	if invalid := (*control.Error)(nil); errors.As(err, &invalid) {
		e.Details = invalid.Details
		return e
	}
	for _, c := range config.Diff(running, next.Config) {
		e.Details = append(e.Details, c.String())
	}
	if len(e.Details) == 0 {
		e.Details = []string{"(comments or their order only)"}
	}
	return e
}
