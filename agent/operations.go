package agent

import (
	"context"
	"io"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
)

// operations answer what the operator asks.
func (a *Agent) operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.GetStatus, query(a.Status)),
		control.Handle(control.GetPlan, query(a.Plan)),
		control.Handle(control.ApplyConfig, a.Apply),
		control.Handle(control.ConfirmConfig, func(ctx context.Context, _ control.None) (control.None, error) {
			return control.None{}, a.Confirm(ctx)
		}),
		control.Handle(control.RollbackConfig, a.Rollback),
		control.Handle(control.ListHistory, query(a.History)),

		control.Handle(control.ListLeases, query(a.Leases)),
		control.Handle(control.SearchDHCPServers, query(a.SearchDHCPServers)),

		control.Handle(control.ListPhones, query(a.Phones)),
		control.Handle(control.GetPhone, func(ctx context.Context, r control.PhoneRequest) (control.Phone, error) {
			return a.Phone(ctx, r.MAC)
		}),
		control.Handle(control.ApprovePhone, func(ctx context.Context, r control.Approval) (control.None, error) {
			return control.None{}, a.ApprovePhone(ctx, r.MAC, r)
		}),
		control.Handle(control.ForgetPhone, phoneOrder(a.ForgetPhone)),
		control.Handle(control.RearmPhone, phoneOrder(a.RearmPhone)),
		control.Handle(control.ResyncPhones, a.ResyncPhones),
		control.Handle(control.LinkSoftphone, func(ctx context.Context, r control.SoftphoneRequest) (control.Link, error) {
			return a.SoftphoneLink(ctx, r.Extension)
		}),

		control.Handle(control.ListExtensions, query(a.Extensions)),
		control.Handle(control.GetPBX, query(a.PBXStatus)),
		control.Handle(control.RestartPBX, func(ctx context.Context, r control.RestartOptions) (control.None, error) {
			return control.None{}, a.RestartPBX(ctx, r)
		}),

		control.Handle(control.GetFirewall, query(a.Firewall)),
		control.Handle(control.TestFirewall, a.FirewallTest),
		control.Handle(control.ListBans, query(a.Bans)),
		control.Handle(control.AddBan, func(ctx context.Context, r control.BanRequest) (control.Ban, error) {
			return a.AddBan(ctx, control.Ban{Address: r.Address, Jail: r.Jail, Reason: r.Reason, Attempts: r.Attempts, Duration: r.Duration})
		}),
		control.Handle(control.RemoveBans, a.RemoveBans),

		control.Handle(control.ListStacks, query(a.Stacks)),
		control.Handle(control.StartStack, func(ctx context.Context, o control.StackUpOptions) (control.None, error) {
			return control.None{}, a.StackUp(ctx, o.Stack, o)
		}),
		control.Handle(control.StopStack, stackOrder(a.StackDown)),
		control.Handle(control.UpdateStack, func(ctx context.Context, r control.StackUpdateOptions) (control.StackUpdate, error) {
			return a.StackUpdate(ctx, r.Stack, r)
		}),
		control.Handle(control.ListStackUpdates, query(a.StackHistory)),
		control.Handle(control.ShowStackLogins, func(ctx context.Context, o control.StackLoginOptions) (control.StackLogins, error) {
			return a.StackLogins(ctx, o.Stack, o)
		}),
		control.HandleText(control.ReadStackLogs, func(ctx context.Context, r control.StackLogOptions, w io.Writer) error {
			return a.StackLogs(ctx, w, r.Stack, r)
		}),

		control.Handle(control.GetBackupPlan, query(a.BackupPlan)),
		control.HandleHold(control.HoldForBackup, func(ctx context.Context, r control.HoldRequest) (control.Held, func(), error) {
			return a.Hold(ctx, r.Part)
		}),

		control.Handle(control.RunVerification, query(a.Verify)),

		control.Handle(control.GetLogSource, func(ctx context.Context, r control.LogSourceRequest) (control.LogSource, error) {
			return a.LogSource(ctx, r.Phone)
		}),
		control.HandleStream(control.ReadLogs, func(ctx context.Context, r control.LogsRequest, emit func(events.Event) error) error {
			return a.Logs(ctx, events.Filter{Part: r.Part, MAC: r.MAC, Extension: r.Extension}, r.Follow, emit)
		}),
	}
}

// query adapts a method whose operation's request says nothing.
func query[Resp any](do func(context.Context) (Resp, error)) func(context.Context, control.None) (Resp, error) {
	return func(ctx context.Context, _ control.None) (Resp, error) { return do(ctx) }
}

func phoneOrder(do func(ctx context.Context, mac string) error) func(context.Context, control.PhoneRequest) (control.None, error) {
	return func(ctx context.Context, r control.PhoneRequest) (control.None, error) {
		return control.None{}, do(ctx, r.MAC)
	}
}

func stackOrder(do func(ctx context.Context, name string) error) func(context.Context, control.StackRequest) (control.None, error) {
	return func(ctx context.Context, r control.StackRequest) (control.None, error) {
		return control.None{}, do(ctx, r.Stack)
	}
}
