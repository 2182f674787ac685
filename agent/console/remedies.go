package console

import (
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// remedy is an operation that may end a kind of problem. What is a matter for a person's eyes has none.
type remedy struct {
	problem   problem.ID
	operation control.Info
	label     string
	// subject is the field of the request that is the problem's subject; empty: it has none.
	subject string
	// fields are others, names and values.
	fields []string
	// sure says that people are asked once more, because others may notice it.
	sure bool
}

func remedies() []remedy {
	return []remedy{
		{problem: problem.ConfigPending, operation: control.ConfirmConfig.Info(), label: "Keep it"},
		{problem: problem.ConfigPending, operation: control.RollbackConfig.Info(), label: "Undo it now"},
		{problem: problem.DHCPRival, operation: control.SearchDHCPServers.Info(), label: "Search again"},
		{problem: problem.PhoneAlert, operation: control.RearmPhone.Info(), label: "Put the secret back", subject: "mac"},
		{problem: problem.PhoneRefused, operation: control.ResyncPhones.Info(), label: "Have all phones fetch their files again", fields: []string{"wait_ns", "30s"}},
		{problem: problem.PBXDown, operation: control.RestartPBX.Info(), label: "Restart the exchange", sure: true},
		{problem: problem.PBXRestartDue, operation: control.RestartPBX.Info(), label: "Restart the exchange", sure: true},
		{problem: problem.PBXPaused, operation: control.ResumePBX.Info(), label: "End the pause"},
		{problem: problem.SecretKnown, operation: control.RotateSecrets.Info(), label: "Give it a new secret", subject: "extensions", sure: true},
		{problem: problem.StackTrouble, operation: control.StartStack.Info(), label: "Start", subject: "stack"},
		{problem: problem.StackUpdateFailed, operation: control.UpdateStack.Info(), label: "Update", subject: "stack", sure: true},
		{problem: problem.AlertsNotDelivered, operation: control.TestAlerts.Info(), label: "Send a test"},
	}
}

// button is a form, and whether people are asked once more.
type button struct {
	form
	Sure bool
}

// Remedies are the buttons by which who is logged in may end a problem.
func (v view) Remedies(p problem.Problem) (out []button) {
	for _, r := range remedies() {
		if r.problem != p.ID || !v.Me.Role.May(r.operation.Role) {
			continue
		}
		fields := r.fields
		if r.subject != "" {
			fields = append([]string{r.subject, p.Subject}, fields...)
		}
		out = append(out, button{newForm(r.operation.ID, r.label, "/", fields...), r.sure})
	}
	return out
}

// places are the pages where somebody does something about a kind of problem.
func places() map[problem.ID]link {
	return map[problem.ID]link{
		problem.ConfigNotApplied: {"/configuration", "Configuration"},
		problem.ConfigInvalid:    {"/configuration", "Configuration"},
		problem.ConfigOutdated:   {"/configuration", "Configuration"},
		problem.PhonesPending:    {"/phones", "Phones"},
		problem.PhonesNoLine:     {"/phones", "Phones"},
		problem.DHCPForeign:      {"/network", "Network"},
		problem.LinkTrouble:      {"/network", "Network"},
		problem.FirewallTrouble:  {"/firewall", "Firewall"},
		problem.StackNote:        {"/stacks", "Stacks"},
		problem.BackupFailed:     {"/backups", "Backups"},
	}
}

// Place is the page for a problem, or nil.
func (v view) Place(p problem.Problem) *link {
	switch p.ID {
	case problem.PhoneAlert, problem.PhoneNotRegistered:
		return &link{"/phones/" + p.Subject, p.Subject}
	}
	if l, ok := places()[p.ID]; ok {
		return &l
	}
	return nil
}
