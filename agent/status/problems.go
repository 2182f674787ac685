// Package status says what is wrong with the host's own things: parts that do not run, a configuration that does not.
package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// PartProblems tells of units that do not run, and of those that have not followed
// the configuration, unless their part has told more of it.
func PartProblems(units []control.PartStatus, reported []problem.Problem) (out []problem.Problem) {
	for _, u := range units {
		p := problem.Problem{Severity: problem.Error, Part: u.Name, What: u.LastError}
		switch {
		case u.State == control.PartStuck:
			p.ID, p.Fix = problem.PartStuck, "systemctl restart sae-agent ends it; journalctl -u sae-agent says what it did last"
		case u.State == control.PartWaiting:
			p.ID, p.Fix = problem.PartFailed, "once the cause is gone it starts by itself; journalctl -u sae-agent says more"
		case u.Behind != "" && u.LastError == u.Behind && !slices.ContainsFunc(reported, func(r problem.Problem) bool { return r.Part == u.Name }):
			p.ID, p.Fix = problem.PartBehind, "once the cause is gone, sae-agent apply tries again at once"
			p.What = "it does not run as configured: " + u.Behind
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// RefusedProblems tells of what this version would refuse in a new configuration.
func RefusedProblems(refused []config.Diagnostic) (out []problem.Problem) {
	for _, d := range refused {
		out = append(out, problem.Problem{
			ID: problem.ConfigOutdated, Severity: problem.Warning, Part: "config", Subject: d.Path,
			What: "what runs was accepted by an earlier version, and would be refused today: " + d.String(),
			Fix:  "change it in the file, then sae-agent apply",
		})
	}
	return out
}

// ConfigProblems tells of a change on trial, and of a file that differs from what runs.
func ConfigProblems(c control.ConfigStatus) (out []problem.Problem) {
	if !c.Until.IsZero() {
		out = append(out, problem.Problem{
			ID: problem.ConfigPending, Severity: problem.Warning, Part: "config",
			What: fmt.Sprintf("configuration %d waits for its confirmation, and is undone at %s", c.Number, c.Until.Local().Format(time.TimeOnly)),
			Fix:  "sae-agent confirm keeps it, sae-agent rollback undoes it now",
		})
	}
	p := problem.Problem{ID: problem.ConfigNotApplied, Severity: problem.Warning, Part: "config", What: c.Path + " differs from what runs", Fix: "sae-agent plan shows the difference, sae-agent apply runs it"}
	switch {
	case !c.NotApplied:
		return out
	case c.FileError != "":
		p.ID, p.What, p.Fix = problem.ConfigInvalid, "the file could not be applied: "+c.FileError, "sae-agent check shows all that is wrong with it"
	}
	return append(out, p)
}
