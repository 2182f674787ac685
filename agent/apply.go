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
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/netcfg"
)

// ModelKnown tells config whether a model of phone exists.
func ModelKnown(model string) (suggestion string, ok bool) {
	m, ok := yealink.LookupModel(model)
	if !ok {
		return "", false
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

// readFile reads and checks the operator's file.
func (a *Agent) readFile() (applied, error) {
	path := a.opts.ConfigPath
	data, err := config.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return applied{}, badConfig(fmt.Sprintf("there is no configuration file %s: write one with 'sae-agent init'", path), nil)
	}
	if err != nil {
		return applied{}, badConfig("the configuration file cannot be read", err)
	}
	return a.prepare(config.Options{Now: time.Now()}, path, data)
}

// prepare checks a configuration and makes the secrets that it leaves out.
func (a *Agent) prepare(opts config.Options, name string, data []byte) (applied, error) {
	opts.ModelKnown = ModelKnown
	cfg, warnings, err := opts.Parse(name, data)
	if err != nil {
		return applied{}, badConfig("the configuration is not valid, nothing was changed", err)
	}
	names := append(exchangeSecrets(cfg), adminSecret)
	for _, e := range cfg.Extensions {
		if e.Secret == "" {
			names = append(names, extensionSecret(e.Number))
		}
	}
	names = append(names, stackSecrets(cfg)...)
	made, err := a.secrets.Ensure(names...)
	if err != nil {
		return applied{}, err
	}
	return applied{cfg: cfg, data: data, secrets: made, warnings: warnings}, nil
}

// Apply answers control.ApplyConfig: it runs the operator's file. The exchange comes first and the phones' files follow
// it; Apply waits for both.
func (a *Agent) Apply(ctx context.Context, o control.ApplyOptions) (control.Plan, error) {
	plan, err := a.applyFile(ctx, o)
	if err == nil {
		plan.Warnings = a.settleExchange(ctx)
	}
	return plan, err
}

func (a *Agent) applyFile(ctx context.Context, o control.ApplyOptions) (control.Plan, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.nothingPending(); err != nil {
		return control.Plan{}, err
	}
	next, err := a.readFile()
	if err != nil {
		a.log.Error("the file was not applied", "err", err)
		return control.Plan{}, err
	}
	if err := web.CheckWebConfig(next.cfg.HTTP.Metrics.WebConfig); err != nil {
		return control.Plan{}, badConfig("http.metrics.web_config cannot be used, nothing was changed", err)
	}
	plan := a.plan(ctx, next)
	if bytes.Equal(next.data, a.applied.data) {
		a.bringInLine()
		return plan, nil
	}
	// Recorded before anything is done: after a crash the rest is done at the start.
	if o.Confirm > 0 {
		plan.Until, next.entry, err = a.probation(ctx, next.data, o.Confirm)
	} else {
		next.entry, err = a.history.Add(next.data, time.Now())
	}
	if err != nil {
		return control.Plan{}, err
	}
	a.run(next)
	a.log.Info("configuration applied", "changes", len(plan.Config), "number", next.entry.Seq, "confirm", o.Confirm)
	return plan, nil
}

// run makes a configuration the one that runs. The caller holds a.mu.
func (a *Agent) run(next applied) {
	a.setApplied(next)
	a.bringInLine()
}

// Plan answers control.GetPlan: it says what Apply would do.
func (a *Agent) Plan(ctx context.Context) (control.Plan, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, err := a.readFile()
	if err != nil {
		return control.Plan{}, err
	}
	return a.plan(ctx, next), nil
}

// plan compares a configuration with the one that runs. The caller holds a.mu.
func (a *Agent) plan(ctx context.Context, next applied) control.Plan {
	var p control.Plan
	for _, c := range config.Diff(a.applied.cfg, next.cfg) {
		p.Config = append(p.Config, control.Change(c))
	}
	var changes []netcfg.Change
	if n := a.net.Load(); n != nil {
		var err error
		if changes, err = n.Plan(ctx, desiredNetwork(next.cfg, a.opts.StateDir)); err != nil {
			a.log.Warn("cannot tell what would change of the network", "err", err)
		}
	}
	for _, c := range changes {
		p.Machine = append(p.Machine, c.String())
	}
	p.Machine = append(p.Machine, a.planQoS(next.cfg)...)
	p.Machine = append(p.Machine, a.planExchange(ctx, next)...)
	p.Firewall = a.planFirewall(ctx, next.cfg)
	return p
}
