package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/lockout"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

const (
	// settleTime is how long an apply waits for the parts.
	settleTime = time.Minute
	// retryTime is how long it waits for those that have failed once.
	retryTime = 5 * time.Second
)

// KnowPhones has a configuration checked against what is known of the phones.
func KnowPhones(opts config.Options) config.Options {
	opts.ModelKnown, opts.LanguageKnown, opts.ClockError = modelKnown, yealink.HasLanguage, yealink.ClockError
	return opts
}

// modelKnown tells config whether a model of phone exists.
func modelKnown(model string) (suggestion string, ok bool) {
	m, ok := yealink.LookupModel(model)
	if !ok {
		names := make([]string, 0, len(yealink.Models()))
		for _, m := range yealink.Models() {
			names = append(names, m.Name)
		}
		return config.Closest(model, names), false
	}
	return m.Name, m.Name == model
}

// badConfig is an error of the operator's file, with a line for each thing that is wrong.
func badConfig(message string, err error) error {
	e := &control.Error{Code: http.StatusUnprocessableEntity, Message: message}
	var all config.Errors
	switch {
	case errors.As(err, &all):
		for _, d := range all {
			e.Details = append(e.Details, d.String())
		}
	case err != nil:
		e.Message += ": " + err.Error()
	}
	return e
}

// NoConfigError says that there is no configuration to begin with.
type NoConfigError struct{ error }

// Unwrap returns why.
func (e *NoConfigError) Unwrap() error { return e.error }

// firstConfig reads the configuration to begin with.
func (a *Agent) firstConfig() error {
	undone, err := a.history.UndoOverdue(time.Now())
	if err != nil {
		return err
	}
	if undone {
		a.log.Warn("a change that nobody confirmed was undone")
	}
	entry, data, err := a.history.Current()
	if err != nil && !errors.Is(err, history.ErrEmpty) {
		return err
	}
	if err == nil {
		next, err := parseAccepted(entry, data)
		if err == nil {
			return a.run(next)
		}
		// A disk error, or a version that is older than the one that accepted it.
		a.log.Error("the configuration applied last cannot be read, trying the file", "err", err)
	}
	next, err := a.readFile()
	if err != nil {
		return &NoConfigError{err}
	}
	if next.entry, err = a.history.Add(next.data, time.Now()); err != nil {
		return err
	}
	return a.run(next)
}

// readFile reads and checks the operator's file. It writes nothing.
func (a *Agent) readFile() (applied, error) {
	path := a.opts.Config
	data, err := config.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return applied{}, badConfig(fmt.Sprintf("there is no configuration file %s: write one with 'sae-agent init'", path), nil)
	}
	if err != nil {
		return applied{}, badConfig("the configuration file cannot be read", err)
	}
	return parseFile(path, data)
}

// parseFile checks the text of the operator's file.
func parseFile(path string, data []byte) (applied, error) {
	cfg, _, err := KnowPhones(config.Options{Now: time.Now()}).Parse(path, data)
	if err != nil {
		return applied{}, badConfig("the configuration is not valid, nothing was changed", err)
	}
	return applied{Input: part.Input{Config: cfg}, data: data}, nil
}

// parseAccepted reads a configuration that was applied once.
func parseAccepted(entry history.Entry, data []byte) (applied, error) {
	cfg, refused, err := KnowPhones(config.Options{}).ParseAccepted(fmt.Sprintf("configuration %d", entry.Seq), data)
	if err != nil {
		return applied{}, badConfig("the configuration is not valid, nothing was changed", err)
	}
	return applied{Input: part.Input{Config: cfg}, data: data, entry: entry, refused: refused}, nil
}

// run makes a configuration the one that runs, with the passwords that it leaves out
// made where there are none yet. The caller holds a.changes, or is alone.
func (a *Agent) run(next applied) error {
	made, err := a.secrets.Ensure(part.SecretNames(a.parts, next.Config)...)
	if err != nil {
		return err
	}
	pending, err := a.history.Pending()
	next.hash = history.Hash(next.data)
	next.Secrets, next.Pending = made, err != nil || pending != nil // when in doubt, nothing is deleted
	if before := a.current.Load(); before != nil {
		next.Generation = before.Generation
	}
	next.Generation++
	a.current.Store(&next)
	a.events.Keep(next.Config.Logs.Retention, next.Config.Logs.PersonalData == config.PersonalOmit)
	host{a}.Changed()
	return nil
}

// apply runs the operator's file, and waits until each part has followed it.
func (a *Agent) apply(ctx context.Context, o control.ApplyOptions) (control.Plan, error) {
	plan, err := a.applyFile(ctx, o)
	if err != nil {
		return plan, err
	}
	plan.Behind = a.settle(ctx)
	return plan, nil
}

func (a *Agent) applyFile(ctx context.Context, o control.ApplyOptions) (control.Plan, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	if err := a.nothingPending(); err != nil {
		return control.Plan{}, err
	}
	next, err := a.checkedFile(ctx)
	if err != nil {
		a.log.Error("the file was not applied", "err", err)
		return control.Plan{}, err
	}
	plan := a.plan(ctx, next)
	if bytes.Equal(next.data, a.current.Load().data) {
		return plan, a.run(*a.current.Load()) // what has failed is tried again at once
	}
	if o.Confirm == 0 && !o.Force {
		if err := a.keepsOperators(ctx, next.Input); err != nil {
			a.log.Error("the file was not applied", "err", err)
			return control.Plan{}, err
		}
	}
	// Recorded before anything is done: after a crash the rest is done at the start.
	if o.Confirm > 0 {
		plan.Until, next.entry, err = a.probation(ctx, next.data, o.Confirm)
	} else {
		next.entry, err = a.history.Add(next.data, time.Now())
	}
	if err == nil {
		err = a.run(next)
	}
	if err != nil {
		return control.Plan{}, err
	}
	a.log.Info("configuration applied", "changes", len(plan.Config), "number", next.entry.Seq, "confirm", o.Confirm)
	return plan, nil
}

// keepsOperators is an error when a configuration would lock out somebody who works on
// this machine over the network, the caller above all.
func (a *Agent) keepsOperators(ctx context.Context, next part.Input) error {
	if a.opts.Sessions == nil {
		return nil
	}
	sessions, err := a.opts.Sessions(control.CallerPID(ctx))
	if err != nil {
		a.log.Warn("cannot tell who is logged in, so nobody is kept from being locked out", "err", err)
	}
	return lockout.Check(ctx, a.parts, next, sessions)
}

// checkedFile reads the file, and asks the parts whether they could run it here.
func (a *Agent) checkedFile(ctx context.Context) (applied, error) {
	next, err := a.readFile()
	if err != nil {
		return next, err
	}
	return next, runsHere(ctx, a.parts, next.Input)
}

// checked checks a text that is to become the file, as checkedFile does.
func (a *Agent) checked(ctx context.Context, path string, data []byte) (applied, error) {
	next, err := parseFile(path, data)
	if err != nil {
		return next, err
	}
	return next, runsHere(ctx, a.parts, next.Input)
}

// runsHere asks the parts whether they could run a configuration on this machine.
func runsHere(ctx context.Context, parts []part.Part, next part.Input) error {
	for _, p := range parts {
		c, ok := p.(part.Checker)
		if !ok {
			continue
		}
		if err := c.Check(ctx, next); err != nil {
			return badConfig("the configuration cannot be run here, nothing was changed", err)
		}
	}
	return nil
}

// settle waits until each part has followed what runs, and returns those that have
// not, with the reason.
func (a *Agent) settle(ctx context.Context) []control.Behind {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	generation := a.Running().Generation
	// Twice: what one part has done is what another one follows, as the phones' files
	// follow the exchange.
	for range 2 {
		if a.supervisor.WaitEvaluated(ctx) != nil {
			break
		}
		if len(a.supervisor.Tried(ctx, generation)) > 0 {
			break
		}
	}
	retries, cancel := context.WithTimeout(ctx, retryTime)
	defer cancel()
	out := []control.Behind{}
	for _, st := range a.supervisor.InForce(retries, generation) {
		out = append(out, control.Behind{Part: st.Name, Why: st.Behind})
	}
	return out
}

// getPlan says what apply would do. It writes nothing.
func (a *Agent) getPlan(ctx context.Context, _ control.None) (control.Plan, error) {
	next, err := a.checkedFile(ctx)
	if err != nil {
		return control.Plan{}, err
	}
	return a.plan(ctx, next), nil
}

// plan compares a configuration with what runs.
func (a *Agent) plan(ctx context.Context, next applied) control.Plan {
	var out control.Plan
	for _, c := range config.Diff(a.Running().Config, next.Config) {
		out.Config = append(out.Config, control.Change(c))
	}
	// Passwords that do not exist yet are made when it is applied.
	next.Secrets = a.secrets.Lookup(part.SecretNames(a.parts, next.Config)...)
	for _, p := range a.parts {
		if planner, ok := p.(part.Planner); ok {
			planner.Plan(ctx, next.Input, &out)
		}
	}
	return out
}
