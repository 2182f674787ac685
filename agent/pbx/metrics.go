package pbx

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	refused  *prometheus.CounterVec
	restarts *prometheus.CounterVec
}

var (
	descUp         = prometheus.NewDesc("sae_pbx_up", "1 while the exchange's manager interface answers.", nil, nil)
	descSIP        = prometheus.NewDesc("sae_pbx_sip_up", "1 while the exchange answers SIP.", nil, nil)
	descInLine     = prometheus.NewDesc("sae_pbx_in_line", "1 while the exchange has the extensions that it should have.", nil, nil)
	descRegistered = prometheus.NewDesc("sae_pbx_registered", "Extensions for which a device is registered now.", nil, nil)
	descCalls      = prometheus.NewDesc("sae_pbx_calls", "Calls that go on now.", nil, nil)
	descLine       = prometheus.NewDesc("sae_extension_registered", "1 while a device is registered for the extension.", []string{"extension"}, nil)
	descRTT        = prometheus.NewDesc("sae_extension_rtt_seconds",
		"Time that the extension's device took to answer; the slowest one's, if there are several.", []string{"extension"}, nil)
)

func newMetrics() *metrics {
	m := &metrics{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_sip_auth_failures_total", Help: "Attempts that the exchange has refused, by reason.",
		}, []string{"reason"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_pbx_restarts_total", Help: "Times that the agent has restarted the exchange, by outcome.",
		}, []string{"outcome"}),
	}
	for _, k := range SecurityKinds {
		m.refused.WithLabelValues(string(k))
	}
	m.restarts.WithLabelValues("done")
	m.restarts.WithLabelValues("failed")
	return m
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descSIP, descInLine, descRegistered, descCalls, descLine, descRTT} {
		ch <- d
	}
	s.stats.refused.Describe(ch)
	s.stats.restarts.Describe(ch)
}

// Collect implements prometheus.Collector.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	st, want := s.state, s.want
	s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := map[bool]float64{true: 1}
	h := st.Health.State
	gauge(descUp, flag[s.client.Status().Up])
	gauge(descSIP, flag[h == Well || h == NoManager])
	gauge(descInLine, flag[st.Outcome.ReadBack != nil && st.Outcome.Err == nil && !st.Outcome.At.IsZero()])
	gauge(descCalls, float64(st.Calls))
	registered := 0
	for _, e := range want.Extensions {
		l := st.Lines[e.Number]
		gauge(descLine, flag[l.Registered()], e.Number)
		if l.Registered() {
			registered++
		}
		if rtt := l.RoundTrip(); rtt > 0 {
			gauge(descRTT, rtt.Seconds(), e.Number)
		}
	}
	gauge(descRegistered, float64(registered))
	s.stats.refused.Collect(ch)
	s.stats.restarts.Collect(ch)
}
