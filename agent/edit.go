package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
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

// editFile changes the operator's file and runs it. Nothing is written before it is
// known that the result can run.
func (a *Agent) editFile(ctx context.Context, o control.EditOptions, change func(*edit.File) error) (control.Plan, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	if err := a.nothingPending(); err != nil {
		return control.Plan{}, err
	}
	path, err := filepath.EvalSymlinks(a.opts.Config)
	if err != nil {
		return control.Plan{}, err
	}
	old, err := config.ReadFile(path)
	if err != nil {
		return control.Plan{}, err
	}
	// What runs is edited, never text that nobody applied, or that was taken back.
	running := a.current.Load().data
	unapplied := !bytes.Equal(old, running)
	if unapplied && !o.DiscardEdits {
		return control.Plan{}, a.notApplied(path, old)
	}
	f, err := edit.Parse(running)
	if err == nil {
		err = change(f)
	}
	if err != nil {
		return control.Plan{}, unprocessable(err)
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
		if err := replaceFile(path, path+".old", old); err != nil {
			return control.Plan{}, err
		}
	}
	if err := replaceFile(path, path, next.data); err != nil {
		return control.Plan{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if next.entry, err = a.history.Add(next.data, time.Now()); err != nil {
		return control.Plan{}, errors.Join(fmt.Errorf("nothing was changed: %w", err), replaceFile(path, path, old))
	}
	a.log.Info("configuration file edited and applied", "changes", len(plan.Config), "number", next.entry.Seq)
	return plan, a.run(next)
}

// notApplied says what in the file was not applied.
func (a *Agent) notApplied(path string, data []byte) error {
	e := &control.Error{Code: http.StatusConflict, Message: path + " has edits that were not applied: 'sae-agent apply' runs them; " +
		"--discard-edits begins with what runs, and keeps them beside it, in a file that ends with .old"}
	next, err := parseFile(path, data)
	if invalid := (*control.Error)(nil); errors.As(err, &invalid) {
		e.Details = invalid.Details
		return e
	}
	for _, c := range config.Diff(a.Running().Config, next.Config) {
		e.Details = append(e.Details, c.String())
	}
	if len(e.Details) == 0 {
		e.Details = []string{"(comments or their order only)"}
	}
	return e
}

// unprocessable is an error that the caller can do something about.
func unprocessable(err error) error {
	var known *control.Error
	if errors.As(err, &known) {
		return err
	}
	return &control.Error{Code: http.StatusUnprocessableEntity, Message: err.Error()}
}

// replaceFile writes a file with the owner and the mode of another.
func replaceFile(like, path string, data []byte) error {
	fi, err := os.Stat(like)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", like)
	}
	return durable.WriteFileAs(path, data, fi.Mode().Perm(), int(st.Uid), int(st.Gid))
}
