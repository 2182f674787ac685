package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// collector says how the agent itself is.
type collector struct{ agent *Agent }

var (
	descInfo       = prometheus.NewDesc("sae_agent_info", "The agent; the value is always 1.", []string{"version", "site"}, nil)
	descStart      = prometheus.NewDesc("sae_agent_start_time_seconds", "When the agent was started.", nil, nil)
	descPart       = prometheus.NewDesc("sae_part_up", "1 while the part runs, 0 while it waits to be started again.", []string{"part"}, nil)
	descRestarts   = prometheus.NewDesc("sae_part_restarts_total", "Times that the part was started again after a failure.", []string{"part"}, nil)
	descApplied    = prometheus.NewDesc("sae_config_applied_timestamp_seconds", "When the configuration that runs was applied.", nil, nil)
	descNotApplied = prometheus.NewDesc("sae_config_file_differs", "1 if the configuration file differs from what runs.", nil, nil)
	descProblems   = prometheus.NewDesc("sae_problems", "What is wrong, by severity; sae-agent status says it in words.", []string{"severity"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descInfo, descStart, descPart, descRestarts, descApplied, descNotApplied, descProblems} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	st, err := c.agent.Status(context.Background())
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descProblems, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := map[bool]float64{true: 1}
	gauge(descInfo, 1, st.Version, st.Site)
	gauge(descStart, float64(st.Started.UnixMilli())/1000)
	for _, p := range st.Parts {
		gauge(descPart, flag[p.State == supervisor.Running], p.Name)
		ch <- prometheus.MustNewConstMetric(descRestarts, prometheus.CounterValue, float64(p.Retries), p.Name)
	}
	gauge(descApplied, float64(st.Config.AppliedAt.Unix()))
	gauge(descNotApplied, flag[st.Config.NotApplied])
	count := make(map[control.Severity]int)
	for _, p := range st.Problems {
		count[p.Severity]++
	}
	for _, s := range []control.Severity{control.SeverityError, control.SeverityWarning} {
		gauge(descProblems, float64(count[s]), string(s))
	}
}
