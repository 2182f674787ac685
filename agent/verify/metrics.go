package verify

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Last is the report of the last time, as metrics.
type Last struct {
	report atomic.Pointer[control.Verification]
}

var (
	descSuccess = prometheus.NewDesc("sae_verify_success", "1 if the check passed the last time that sae-agent verify tried it, 0 if it failed.", []string{"check"}, nil)
	descLastRun = prometheus.NewDesc("sae_verify_last_run_timestamp_seconds", "When sae-agent verify was run for the last time; 0: not since the start.", nil, nil)
	descTook    = prometheus.NewDesc("sae_verify_last_run_seconds", "How long the last sae-agent verify took.", nil, nil)
)

// Note keeps a report.
func (l *Last) Note(v control.Verification) { l.report.Store(&v) }

// Describe implements prometheus.Collector.
func (l *Last) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSuccess, descLastRun, descTook} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *Last) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	v := l.report.Load()
	if v == nil {
		gauge(descLastRun, 0)
		return
	}
	gauge(descLastRun, float64(v.Started.Unix()))
	gauge(descTook, v.Took.Seconds())
	for _, c := range v.Checks {
		if c.Outcome != control.NotTried {
			gauge(descSuccess, map[bool]float64{true: 1}[c.Outcome == control.Passed], c.Check)
		}
	}
}
