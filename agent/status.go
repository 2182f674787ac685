package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// getStatus folds the reports of the parts. It waits neither for an apply nor for a
// part, and writes nothing.
func (a *Agent) getStatus(context.Context, control.None) (control.Status, error) {
	return a.status(), nil
}

func (a *Agent) status() control.Status {
	current := a.current.Load()
	st := control.Status{
		Version: a.opts.Version, Site: current.Config.Site.Name, Started: a.started, Config: a.configStatus(current),
	}
	for _, u := range a.supervisor.Status() {
		if u.State != control.PartOff {
			st.Parts = append(st.Parts, u)
		}
	}
	var reported []problem.Problem
	for _, p := range a.parts {
		if r, ok := p.(part.Reporter); ok {
			reported = append(reported, r.Report(&st)...)
		}
	}
	st.Problems = slices.Concat(partProblems(st.Parts, reported), configProblems(st.Config), refusedProblems(current.refused), reported)
	a.problems.Update(st.Problems, time.Now())
	problem.Sort(st.Problems)
	return st
}

// health returns what does not work, for /healthz.
func (a *Agent) health() []string {
	var out []string
	for _, p := range a.status().Problems {
		if p.Severity == problem.Error {
			out = append(out, p.Part+": "+p.What)
		}
	}
	return out
}

// configStatus compares the operator's file with what runs.
func (a *Agent) configStatus(current *applied) control.ConfigStatus {
	st := control.ConfigStatus{
		Path: a.opts.Config, Applied: history.Hash(current.data), AppliedAt: current.entry.AppliedAt, Number: current.entry.Seq,
	}
	if p, err := a.history.Pending(); err == nil && p != nil {
		st.Until = p.Deadline
	}
	data, err := config.ReadFile(a.opts.Config)
	if err == nil && history.Hash(data) == st.Applied {
		return st
	}
	st.NotApplied = true
	if _, err := a.readFile(); err != nil {
		st.FileError = err.Error()
		var detailed *control.Error
		if errors.As(err, &detailed) && len(detailed.Details) > 0 {
			st.FileError = fmt.Sprintf("%s (and %d more)", detailed.Details[0], len(detailed.Details)-1)
		}
	}
	return st
}

// partProblems tells of units that do not run, and of those that have not followed
// the configuration, unless their part has told more of it.
func partProblems(units []control.PartStatus, reported []problem.Problem) (out []problem.Problem) {
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

// refusedProblems tells of what this version would refuse in a new configuration.
func refusedProblems(refused []config.Diagnostic) (out []problem.Problem) {
	for _, d := range refused {
		out = append(out, problem.Problem{
			ID: problem.ConfigOutdated, Severity: problem.Warning, Part: "config", Subject: d.Path,
			What: "what runs was accepted by an earlier version, and would be refused today: " + d.String(),
			Fix:  "change it in the file, then sae-agent apply",
		})
	}
	return out
}

func configProblems(c control.ConfigStatus) (out []problem.Problem) {
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

// cacheEvery is how old the status may be that /metrics shows.
const cacheEvery = 5 * time.Second

// cachedStatus is the status as it was not long ago, for whoever must not wait for a part.
type cachedStatus struct {
	control.Status
	at   time.Time
	disk disk
}

// disk is the file system that holds the state, in bytes.
type disk struct{ size, free uint64 }

func diskOf(path string) disk {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return disk{} // the state folder is gone; more than this metric says so
	}
	return disk{size: st.Blocks * uint64(st.Bsize), free: st.Bavail * uint64(st.Bsize)}
}

// cacheStatus keeps a status in memory, until ctx ends. If a part keeps it waiting, it
// grows old and the metrics say so.
func (a *Agent) cacheStatus(ctx context.Context) {
	tick := time.NewTicker(cacheEvery)
	defer tick.Stop()
	for {
		a.adopt()
		a.cached.Store(&cachedStatus{a.status(), time.Now(), diskOf(a.opts.State)})
		a.events.Forget(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
