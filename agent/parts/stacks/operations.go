package stacks

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/stacks/versions"
)

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	order := func(do func(context.Context, string) error) func(context.Context, control.StackRequest) (control.None, error) {
		return func(ctx context.Context, r control.StackRequest) (control.None, error) {
			return control.None{}, stackError(do(ctx, r.Stack))
		}
	}
	return []control.Handler{
		control.Handle(control.ListStacks, func(context.Context, control.None) ([]control.Stack, error) { return p.status(), nil }),
		control.Handle(control.StartStack, func(ctx context.Context, o control.StackUpOptions) (control.None, error) {
			return control.None{}, stackError(p.stacks.Up(ctx, o.Stack, o.Images...))
		}),
		control.Handle(control.StopStack, order(func(ctx context.Context, name string) error { return p.stacks.Down(ctx, name) })),
		control.Handle(control.UpdateStack, p.update),
		control.Handle(control.ListStackUpdates, p.history),
		control.Handle(control.ShowStackLogins, p.logins),
		control.HandleText(control.ReadStackLogs, func(ctx context.Context, r control.StackLogOptions, w io.Writer) error {
			return stackError(p.stacks.Logs(ctx, w, r.Stack, r.Service, r.Lines, r.Follow))
		}),
	}
}

func (p *Part) update(ctx context.Context, o control.StackUpdateOptions) (control.StackUpdate, error) {
	step := versions.Minor
	if o.Major {
		step = versions.Major
	}
	r, err := p.stacks.Update(ctx, o.Stack, step)
	return controlUpdate(r), stackError(err)
}

func (p *Part) history(context.Context, control.None) ([]control.StackUpdate, error) {
	out := []control.StackUpdate{}
	for _, r := range p.stacks.History() {
		out = append(out, controlUpdate(r))
	}
	return out, nil
}

func controlUpdate(r stacks.Record) control.StackUpdate {
	return control.StackUpdate{Time: r.Time, Stack: r.Stack, Outcome: string(r.Outcome), From: r.From, To: r.To, Detail: r.Detail, Backup: r.Backup}
}

func (p *Part) logins(_ context.Context, r control.StackLoginOptions) (control.StackLogins, error) {
	logins, err := p.stacks.FirstLogins(r.Stack, r.Again)
	var out control.StackLogins
	for _, s := range p.stacks.Status() {
		if s.Name == r.Stack {
			out.URL = s.URL
		}
	}
	if errors.Is(err, stacks.ErrShown) {
		out.Shown = err.Error()
		return out, nil
	}
	for _, l := range logins {
		out.Logins = append(out.Logins, control.StackLogin(l))
	}
	return out, stackError(err)
}

// stackError makes an error of the stacks one that the operator is told.
func stackError(err error) error {
	for _, known := range []struct {
		err  error
		code int
	}{
		{stacks.ErrUnknown, http.StatusNotFound}, {stacks.ErrDisabled, http.StatusConflict}, {stacks.ErrBusy, http.StatusConflict}, {stacks.ErrNoLogin, http.StatusConflict},
		{stacks.ErrNotRunning, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			return &control.Error{Code: known.code, Message: err.Error()}
		}
	}
	var p *stacks.Problem
	if errors.As(err, &p) {
		return &control.Error{Code: http.StatusConflict, Message: p.Error()}
	}
	return err
}
