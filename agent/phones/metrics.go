package phones

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

type metrics struct {
	files      *prometheus.CounterVec
	alerts     prometheus.Counter
	softphones *prometheus.CounterVec
}

var (
	kinds    = map[yealink.FileKind]string{yealink.BootFile: "boot", yealink.CommonFile: "common", yealink.PhoneFile: "phone", yealink.OtherFile: "other"}
	outcomes = []string{"served", "pending", "denied", "not_found"}
	states   = []State{StateAbsent, StateSeen, StateProvisioned, StatePending, StateDenied}

	descPhones = prometheus.NewDesc("sae_phones", "Phones by how far they are.", []string{"state"}, nil)
)

func newMetrics() *metrics {
	m := &metrics{
		files: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_phone_files_total",
			Help: "Phones' files that were asked for, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		alerts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_phone_alerts_total",
			Help: "Times that a phone did something that a person should look at.",
		}),
		softphones: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_softphone_links_total",
			Help: "Softphone links that were opened, by outcome.",
		}, []string{"outcome"}),
	}
	for _, k := range kinds {
		for _, o := range outcomes {
			m.files.WithLabelValues(k, o)
		}
	}
	m.softphones.WithLabelValues("served")
	m.softphones.WithLabelValues("denied")
	return m
}

func (m *metrics) count(k yealink.FileKind, outcome string) {
	m.files.WithLabelValues(kinds[k], outcome).Inc()
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	ch <- descPhones
	s.metrics.files.Describe(ch)
	s.metrics.alerts.Describe(ch)
	s.metrics.softphones.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	counts := make(map[State]int)
	for _, p := range s.List() {
		counts[p.State]++
	}
	for _, st := range states {
		ch <- prometheus.MustNewConstMetric(descPhones, prometheus.GaugeValue, float64(counts[st]), string(st))
	}
	s.metrics.files.Collect(ch)
	s.metrics.alerts.Collect(ch)
	s.metrics.softphones.Collect(ch)
}
