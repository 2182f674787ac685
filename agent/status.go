package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/metrics"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/status"
)

// status folds the reports of the parts. It waits neither for an apply nor for a part,
// and writes nothing.
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
	st.Problems = slices.Concat(
		status.PartProblems(st.Parts, reported), status.ConfigProblems(st.Config), status.RefusedProblems(current.refused), reported,
	)
	a.problems.Update(st.Problems, time.Now())
	problem.Sort(st.Problems)
	return st
}

// health returns what does not work, or not yet, for /healthz.
func (a *Agent) health() []string {
	st := a.status()
	out := st.NotReady()
	for _, p := range st.Problems {
		if p.Severity == problem.Error {
			out = append(out, p.Part+": "+p.What)
		}
	}
	return out
}

// configStatus compares the operator's file with what runs.
func (a *Agent) configStatus(current *applied) control.ConfigStatus {
	st := control.ConfigStatus{
		Path: a.opts.Config, Applied: current.hash, AppliedAt: current.entry.AppliedAt, Number: current.entry.Seq,
	}
	if p, err := a.history.Pending(); err == nil && p != nil {
		st.Until = p.Deadline
	}
	if same, err := config.IsFile(a.opts.Config, current.data); err == nil && same {
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

// cacheEvery is how old the status may be that /metrics shows.
const cacheEvery = 5 * time.Second

// cacheStatus keeps a status in memory, until ctx ends. If a part keeps it waiting, it
// grows old and the metrics say so.
func (a *Agent) cacheStatus(ctx context.Context) {
	tick := time.NewTicker(cacheEvery)
	defer tick.Stop()
	for {
		a.adopt()
		a.cached.Store(&metrics.Cached{Status: a.status(), At: time.Now(), Disk: metrics.DiskOf(a.opts.State)})
		a.events.Forget(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
