// Package metrics says how the agent itself is: its parts, its configuration, its problems.
package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// Snapshot is what is known without asking a part anything.
type Snapshot struct {
	Version  string
	Site     string
	Started  time.Time
	Parts    []control.PartStatus
	Features map[string]bool // that the configuration switches on or off
	Cached   *Cached         // nil: just started
}

// Cached is a status as it was not long ago.
type Cached struct {
	control.Status
	At   time.Time
	Disk Disk // that holds the state
}

// KnownProblems returns what was wrong then; false while no status was taken.
func (c *Cached) KnownProblems() ([]problem.Problem, bool) {
	if c == nil {
		return nil, false
	}
	return c.Status.Problems, true
}

// Disk is a file system, in bytes.
type Disk struct{ Size, Free uint64 }

// DiskOf returns the file system that holds a path; zero when the path is gone, of which more than this metric tells.
func DiskOf(path string) Disk {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return Disk{}
	}
	return Disk{Size: st.Blocks * uint64(st.Bsize), Free: st.Bavail * uint64(st.Bsize)}
}

// Collector says how the agent itself is. The func MUST NOT wait for a part.
type Collector func() Snapshot

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descInfo       = desc("sae_agent_info", "The agent and the Go that built it; the value is always 1.", "version", "goversion", "site")
	descStart      = desc("sae_agent_start_time_seconds", "When the agent was started.")
	descPart       = desc("sae_part_up", "1 while the part runs, 0 while it waits to be started again.", "part")
	descRestarts   = desc("sae_part_restarts_total", "Times that the part was started again after a failure.", "part")
	descConfigInfo = desc("sae_config_info", "The configuration that runs, by the first digits of its SHA-256; the value is always 1.", "hash")
	descApplied    = desc("sae_config_applied_timestamp_seconds", "When the configuration that runs was applied.")
	descPending    = desc("sae_config_pending", "1 while the configuration that runs waits to be confirmed, and is undone otherwise.")
	descNotApplied = desc("sae_config_file_differs", "1 if the configuration file differs from what runs.")
	descValid      = desc("sae_config_file_valid", "1 if the configuration file could be applied, 0 if it has an error.")
	descEnabled    = desc("sae_feature_enabled", "1 if the configuration switches the feature on.", "feature")
	descProblems   = desc("sae_problems", "What is wrong, by severity; sae-agent status says it in words.", "severity")
	descProblem    = desc("sae_problem", "Problems of a kind; sae-agent status says them in words, and docs/runbooks.md what to do.", "id", "part", "severity")
	descStatusAt   = desc("sae_status_timestamp_seconds", "When the state of configuration and problems was last looked at.")
	descDiskSize   = desc("sae_state_disk_size_bytes", "Size of the file system that holds the agent's state.")
	descDiskFree   = desc("sae_state_disk_free_bytes", "Free space there.")

	agentDescs = []*prometheus.Desc{
		descInfo, descStart, descPart, descRestarts, descConfigInfo, descApplied, descPending, descNotApplied, descValid,
		descEnabled, descProblems, descProblem, descStatusAt, descDiskSize, descDiskFree,
	}
)

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range agentDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c()
	gauge(descInfo, 1, s.Version, runtime.Version(), s.Site)
	gauge(descStart, seconds(s.Started))
	for _, p := range s.Parts {
		if p.State == control.PartOff {
			continue
		}
		gauge(descPart, oneIf(p.State == control.PartRunning), p.Name)
		ch <- prometheus.MustNewConstMetric(descRestarts, prometheus.CounterValue, float64(p.Retries), p.Name)
	}
	for feature, on := range s.Features {
		gauge(descEnabled, oneIf(on), feature)
	}
	st := s.Cached
	if st == nil {
		return
	}
	gauge(descConfigInfo, 1, st.Config.Applied[:min(12, len(st.Config.Applied))])
	gauge(descApplied, seconds(st.Config.AppliedAt))
	gauge(descPending, oneIf(!st.Config.Until.IsZero()))
	gauge(descNotApplied, oneIf(st.Config.NotApplied))
	gauge(descValid, oneIf(st.Config.FileError == ""))
	count := make(map[problem.Severity]int)
	for _, p := range st.Problems {
		count[p.Severity]++
	}
	for k, n := range kinds(st.Problems) {
		gauge(descProblem, float64(n), string(k.id), k.part, string(k.severity))
	}
	for _, s := range []problem.Severity{problem.Error, problem.Warning} {
		gauge(descProblems, float64(count[s]), string(s))
	}
	gauge(descStatusAt, seconds(st.At))
	gauge(descDiskSize, float64(st.Disk.Size))
	gauge(descDiskFree, float64(st.Disk.Free))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds is a time as Prometheus has it; 0 for never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// kind is what problems are counted by.
type kind struct {
	id       problem.ID
	part     string
	severity problem.Severity
}

func kinds(list []problem.Problem) map[kind]int {
	out := make(map[kind]int)
	for _, p := range list {
		out[kind{p.ID, p.Part, p.Severity}]++
	}
	return out
}
