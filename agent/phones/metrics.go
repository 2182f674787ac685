package phones

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

type metrics struct {
	files      *prometheus.CounterVec
	denied     *prometheus.CounterVec
	alerts     prometheus.Counter
	softphones *prometheus.CounterVec
	boots      prometheus.Counter
	stages     *prometheus.HistogramVec
}

var (
	outcomes = []string{"served", "pending", "denied", "not_found"}
	reasons  = []string{"no_lease", "another_lease", "another_station", "no_station", "not_a_phone", "unknown_phone"}
	states   = []State{StateAbsent, StateSeen, StateProvisioned, StatePending, StateDenied}
)

// Of phones that the configuration or an approval names, each has series of its
// own; of others there are counts only, for their MACs are anybody's to invent.
var (
	perPhone       = []string{"mac", "extension"}
	descPhones     = prometheus.NewDesc("sae_phones", "Phones by how far they are.", []string{"state"}, nil)
	descInfo       = prometheus.NewDesc("sae_phone_info", "A named phone; the value is always 1.", []string{"mac", "extension", "model", "firmware"}, nil)
	descState      = prometheus.NewDesc("sae_phone_state", "How far a named phone is; the value is always 1.", []string{"mac", "extension", "state"}, nil)
	descAlert      = prometheus.NewDesc("sae_phone_alert", "1 if a person should look at the phone.", perPhone, nil)
	descSeen       = prometheus.NewDesc("sae_phone_last_seen_timestamp_seconds", "When the phone was last heard of; 0 if not since the start.", perPhone, nil)
	descFetch      = prometheus.NewDesc("sae_phone_last_fetch_timestamp_seconds", "When the phone last fetched its file; 0 if not since the start.", perPhone, nil)
	descRegistered = prometheus.NewDesc("sae_phone_last_registration_timestamp_seconds", "When the exchange was last heard to accept the phone; 0 if not since the start.", perPhone, nil)

	phoneDescs = []*prometheus.Desc{descPhones, descInfo, descState, descAlert, descSeen, descFetch, descRegistered}
)

func newMetrics() *metrics {
	m := &metrics{
		files: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_phone_files_total",
			Help: "Phones' files that were asked for, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_phone_files_denied_total",
			Help: "Phones' own files that were not given, by the reason for it.",
		}, []string{"reason"}),
		alerts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_phone_alerts_total",
			Help: "Times that a phone did something that a person should look at.",
		}),
		softphones: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_softphone_links_total",
			Help: "Softphone links that were opened, by outcome.",
		}, []string{"outcome"}),
		boots: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_phone_boots_total",
			Help: "Boots of named phones, by their first DISCOVER.",
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sae_phone_boot_seconds",
			Help:    "Time from a named phone's first DISCOVER until it has come as far as the stage.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 14), // 50 ms to 410 s
		}, []string{"stage"}),
	}
	for _, k := range yealink.Kinds[yealink.BootFile:] {
		for _, o := range outcomes {
			m.files.WithLabelValues(k, o)
		}
	}
	for _, r := range reasons {
		m.denied.WithLabelValues(r)
	}
	for _, s := range stageNames {
		m.stages.WithLabelValues(s)
	}
	m.softphones.WithLabelValues("served")
	m.softphones.WithLabelValues("denied")
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.files, m.denied, m.alerts, m.softphones, m.boots, m.stages}
}

func (m *metrics) count(k yealink.FileKind, outcome string) {
	m.files.WithLabelValues(k.String(), outcome).Inc()
}

func (m *metrics) deny(reason string) {
	m.count(yealink.PhoneFile, "denied")
	m.denied.WithLabelValues(reason).Inc()
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range phoneDescs {
		ch <- d
	}
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	counts := make(map[State]int)
	for p := range s.All() {
		counts[p.State]++
		if p.Source != FromNobody {
			collectPhone(ch, p)
		}
	}
	for _, st := range states {
		ch <- prometheus.MustNewConstMetric(descPhones, prometheus.GaugeValue, float64(counts[st]), string(st))
	}
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
}

func collectPhone(ch chan<- prometheus.Metric, p Status) {
	mac := p.MAC.String()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{mac, p.Extension}, labels...)...)
	}
	alert := 0.0
	if p.Alert != "" {
		alert = 1
	}
	gauge(descInfo, 1, p.Model, p.Firmware)
	gauge(descState, 1, string(p.State))
	gauge(descAlert, alert)
	gauge(descSeen, unix(p.LastSeen))
	gauge(descFetch, unix(p.LastFetch))
	gauge(descRegistered, unix(p.LastRegistration))
}

// unix is a time as Prometheus has it; 0 for never.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
