package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
)

// asked answers an operation with resp and notes the request.
func asked[Req, Resp any](got *any, op control.Operation[Req, Resp], resp Resp) control.Handler {
	return control.Handle(op, func(_ context.Context, r Req) (Resp, error) {
		*got = r
		return resp, nil
	})
}

// Commands ask the daemon for what their command line says.
func TestCommandsAskTheDaemon(t *testing.T) {
	var got any
	dir := controltest.Serve(t,
		asked(&got, control.AddPhone, control.Plan{Config: []control.Change{{Path: "phones[x].model", New: "T42U"}}}),
		asked(&got, control.ReplacePhone, control.Plan{}),
		asked(&got, control.RemovePhone, control.Plan{}),
		asked(&got, control.ApprovePhone, control.Plan{}),
		asked(&got, control.ForgetPhone, control.None{}),
		asked(&got, control.ResyncPhones, []control.Resync{{MAC: "00:15:65:12:34:56", State: control.ResyncSilent}}),
		asked(&got, control.RestartPhones, []control.Resync{{MAC: "00:15:65:12:34:56", State: control.ResyncAsked}}),
		asked(&got, control.ApplyConfig, control.Plan{Config: []control.Change{{Path: "site.name", Old: "a", New: "b"}}}),
		asked(&got, control.RollbackConfig, control.Plan{}),
		asked(&got, control.AddBan, control.Ban{}),
		asked(&got, control.RemoveBans, control.BanRemoved{Addresses: []string{"203.0.113.9"}}),
		asked(&got, control.TestFirewall, control.FirewallAnswer{Accept: true, Why: "SSH"}),
		asked(&got, control.StopStack, control.None{}),
		asked(&got, control.UpdateStack, control.StackUpdate{Outcome: "updated"}),
		control.Handle(control.RestartPBX, func(context.Context, control.RestartOptions) (control.None, error) {
			return control.None{}, &control.Error{Code: http.StatusConflict, Message: "calls go on"}
		}),
		control.HandleText(control.ReadStackLogs, func(_ context.Context, o control.StackLogOptions, w io.Writer) error {
			got = o
			_, err := io.WriteString(w, "web said this\n")
			return err
		}),
	)
	const mac = "00:15:65:12:34:56"
	for _, c := range []struct {
		args   string
		status int
		say    string
		asked  any
	}{
		{"phones approve " + mac + " --extension 100 --model T42U", exitOK, "Approved", control.Approval{MAC: mac, Extension: "100", Model: "T42U"}},
		{"phones add " + mac + " --model T42U --extension 102 --name Reception", exitOK, "+ phones[x].model: T42U\nAdded", control.NewPhone{MAC: mac, Model: "T42U", Extension: "102", Name: "Reception"}},
		{"phones add " + mac + " --dry-run", exitOK, "Nothing was changed", control.NewPhone{MAC: mac, EditOptions: control.EditOptions{DryRun: true}}},
		{"phones replace " + mac + " 001565123457 --discard-edits", exitOK, "Replaced", control.Replacement{MAC: mac, New: "001565123457", EditOptions: control.EditOptions{DiscardEdits: true}}},
		{"phones remove " + mac + " --extension", exitOK, "Removed", control.Removal{MAC: mac, Extension: true}},
		{"phones forget " + mac + " --json", exitOK, `"mac": "` + mac + `"`, control.PhoneRequest{MAC: mac}},
		{"phones resync --all --wait 5s", exitFailed, "no answer", control.ResyncOptions{Wait: 5 * time.Second}},
		{"phones restart " + mac + " --wait 0", exitOK, "asked", control.ResyncOptions{MAC: mac}},
		{"apply --confirm 2m", exitOK, "site.name", control.ApplyOptions{Confirm: 2 * time.Minute}},
		{"rollback 7", exitOK, "Nothing to do", control.RollbackOptions{Number: 7}},
		{"bans add 203.0.113.9 --reason scan --duration 1h", exitOK, "Banned", control.BanRequest{Address: "203.0.113.9", Jail: "operator", Reason: "scan", Duration: time.Hour}},
		{"bans remove --all", exitOK, "Lifted: 203.0.113.9", control.BanRemoval{All: true}},
		{"firewall test wan tcp 22", exitOK, "passes", control.FirewallQuestion{From: "wan", To: "local", Protocol: "tcp", Port: 22}},
		{"stacks down jitsi", exitOK, "Stopped", control.StackRequest{Stack: "jitsi"}},
		{"stacks update jitsi --major", exitOK, "", control.StackUpdateOptions{Stack: "jitsi", Major: true}},
		{"stacks logs jitsi web -n 5", exitOK, "web said this", control.StackLogOptions{Stack: "jitsi", Service: "web", Lines: 5}},
		{"pbx restart", exitFailed, "calls go on", nil},
		{"leases", exitFailed, "listLeases is not available", nil},
	} {
		t.Run(c.args, func(t *testing.T) {
			got = nil
			var out bytes.Buffer
			status := execute(t.Context(), append(strings.Fields(c.args), "--runtime-dir", dir), &out, &out)
			if status != c.status || !strings.Contains(out.String(), c.say) {
				t.Errorf("exit status %d:\n%s\nwant %d and %q", status, &out, c.status, c.say)
			}
			if d := cmp.Diff(c.asked, got); d != "" {
				t.Errorf("the daemon was asked something else (-want +got):\n%s", d)
			}
		})
	}
}
