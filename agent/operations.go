package agent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

// handlers answer what the operator asks: the parts', and the host's own.
func (a *Agent) handlers() []control.Handler {
	all := []control.Handler{
		control.Handle(control.GetStatus, a.getStatus),
		control.Handle(control.GetPlan, a.getPlan),
		control.Handle(control.ApplyConfig, a.apply),
		control.Handle(control.ConfirmConfig, a.confirm),
		control.Handle(control.RollbackConfig, a.rollback),
		control.Handle(control.GetConfigFile, a.getConfigFile),
		control.Handle(control.CheckConfig, a.checkConfig),
		control.Handle(control.SaveConfig, a.saveConfig),
		control.Handle(control.ListHistory, func(context.Context, control.None) ([]control.Applied, error) { return kept(a.history) }),
		control.HandleHold(control.HoldForBackup, a.hold),
		control.HandleStream(control.ReadLogs, a.readLogs),
	}
	for _, p := range a.parts {
		if o, ok := p.(part.Operator); ok {
			all = append(all, o.Operations()...)
		}
	}
	return all
}

// newDispatcher returns what carries out operations, for whoever asks.
func (a *Agent) newDispatcher() *control.Dispatcher {
	handlers := a.handlers()
	return control.NewDispatcher(func() []control.Handler { return handlers }, a.log, func(o control.Order) {
		for _, p := range a.parts {
			if auditor, ok := p.(part.Auditor); ok {
				auditor.Ordered(o)
			}
		}
	})
}

// hold has something of a part stand still for a backup.
func (a *Agent) hold(ctx context.Context, r control.HoldRequest) (control.Held, func(), error) {
	for _, p := range a.parts {
		h, ok := p.(part.Holder)
		if !ok {
			continue
		}
		if held, release, known, err := h.Hold(ctx, r.Part); known {
			return held, release, err
		}
	}
	return control.Held{}, nil, &control.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("there is no %q to stand still", r.Part)}
}

// Apply runs the operator's file, as 'sae-agent apply' does. It logs its failure.
func (a *Agent) Apply(ctx context.Context) error {
	_, err := a.apply(ctx, control.ApplyOptions{})
	return err
}
