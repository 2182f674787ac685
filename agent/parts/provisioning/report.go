package provisioning

import (
	"fmt"
	"slices"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.Phones = make(map[string]int)
	lines := 0
	var alerts, troubled []View
	for v := range p.All() {
		st.Phones[string(v.State)]++
		if v.Extension != "" {
			lines++
		}
		if v.Alert != "" {
			alerts = append(alerts, v)
		}
		if v.Trouble != "" {
			troubled = append(troubled, v)
		}
	}
	return slices.Concat(
		alertProblems(alerts), lineProblems(lines, st.Phones[string(phones.StatePending)]), p.adoptions.problems(), troubleProblems(troubled), p.leftoverProblems(),
	)
}

func alertProblems(list []View) (out []problem.Problem) {
	for _, p := range list {
		out = append(out, problem.Problem{
			ID: problem.PhoneAlert, Severity: problem.Warning, Part: "phones", Subject: p.MAC.String(), What: p.MAC.String() + ": " + p.Alert,
			Fix: "look where the phone is; sae-agent phones rearm " + p.MAC.String() + " ends this alert",
		})
	}
	return out
}

// lineProblems tells of phones without a line: how many have one, and how many wait for one.
func lineProblems(lines, pending int) (out []problem.Problem) {
	if lines == 0 {
		out = append(out, problem.Problem{
			ID: problem.PhonesNoLine, Severity: problem.Warning, Part: "phones", What: "no phone has a line yet",
			Fix: "name extensions and phones in the configuration file, then sae-agent apply",
		})
	}
	if pending > 0 {
		out = append(out, problem.Problem{
			ID: problem.PhonesPending, Severity: problem.Warning, Part: "phones", What: fmt.Sprintf("%d unknown phones wait for approval", pending),
			Fix: "sae-agent phones lists them, sae-agent phones approve MAC gives one a line",
		})
	}
	return out
}

func (p *Part) leftoverProblems() []problem.Problem {
	root := p.host.Running().Config.Provisioning.Root
	files := p.folder.Leftovers(root)
	if len(files) == 0 {
		return nil
	}
	return []problem.Problem{{
		ID: problem.LeftoverFiles, Severity: problem.Warning, Part: "files",
		What: fmt.Sprintf("%s and %d more files with a phone's name or a password lie in the TFTP directory; they are never served, but may be read on this machine", files[0], len(files)-1),
		Fix:  fmt.Sprintf("sae-agent import --dhcpd-conf= --tftp-root %s reads them into a configuration; then remove them", root),
	}}
}

// troubleProblems says which phones have their file and are not registered.
func troubleProblems(list []View) (out []problem.Problem) {
	for _, p := range list {
		out = append(out, problem.Problem{
			ID: problem.PhoneNotRegistered, Severity: problem.Warning, Part: "phones", Subject: p.MAC.String(), What: p.MAC.String() + " (extension " + p.Extension + ") is not registered: " + p.Trouble,
			Fix: "sae-agent phones show " + p.MAC.String(),
		})
	}
	const shown = 10
	if n := len(out); n > shown {
		out = slices.Clip(out[:shown])
		out[shown-1].What = fmt.Sprintf("%s (and others)", out[shown-1].What)
	}
	return out
}
