package agent

import (
	"context"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/part"
)

// handlers answer what the operator asks: the parts', and the host's own.
func (a *Agent) handlers() []control.Handler {
	all := []control.Handler{
		control.Handle(control.GetStatus, func(context.Context, control.None) (control.Status, error) { return a.status(), nil }),
		control.Handle(control.GetPlan, a.getPlan),
		control.Handle(control.ApplyConfig, a.apply),
		control.Handle(control.ConfirmConfig, a.confirm),
		control.Handle(control.RollbackConfig, a.rollback),
		control.Handle(control.GetConfigFile, a.getConfigFile),
		control.Handle(control.CheckConfig, a.checkConfig),
		control.Handle(control.SaveConfig, a.saveConfig),
		control.Handle(control.ListHistory, func(context.Context, control.None) ([]control.Applied, error) { return kept(a.history) }),
		control.HandleHold(control.HoldForBackup, part.HoldOf(a.parts)),
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

// Apply runs the operator's file, as 'sae-agent apply' does. It logs its failure.
func (a *Agent) Apply(ctx context.Context) error {
	_, err := a.apply(ctx, control.ApplyOptions{})
	return err
}

func (a *Agent) readLogs(ctx context.Context, r control.LogsRequest, emit func(events.Event) error) error {
	return a.events.Read(ctx, events.Filter{Part: r.Part, MAC: r.MAC, Extension: r.Extension, Last: r.Last}, r.Follow, emit)
}
