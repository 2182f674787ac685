package tftpd

import "github.com/prometheus/client_golang/prometheus"

// noKind is the kind of what names no file: it is malformed, or was not read.
const noKind = "none"

type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	active   prometheus.Gauge
	duration prometheus.Histogram
	unsent   prometheus.Counter
}

func newMetrics(kinds []string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_tftp_requests_total",
			Help: "Requests that have ended, by kind of file and outcome; kind none is what named no file.",
		}, []string{"kind", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_tftp_sent_bytes_total",
			Help: "Bytes of files sent, by kind of file, repetitions not counted.",
		}, []string{"kind"}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sae_tftp_transfers",
			Help: "Transfers under way.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sae_tftp_transfer_seconds",
			Help:    "Time from a request to its last acknowledgement, of transfers that were completed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10), // 0.5 ms to 131 s
		}),
	}
	m.unsent = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sae_tftp_unsent_packets_total",
		Help: "Packets that the kernel did not take, such as while too many wait for ARP; they are sent again later.",
	})
	for _, k := range append([]string{noKind}, kinds...) {
		for _, o := range []Outcome{Served, NotFound, Denied, Illegal, Failed, Repeated, OverLimit, FromOutside} {
			m.requests.WithLabelValues(k, string(o))
		}
	}
	for _, k := range kinds {
		m.bytes.WithLabelValues(k)
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes, m.active, m.duration, m.unsent}
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
}

// ended counts a request and tells whoever wants to know.
func (s *Server) ended(t Transfer) {
	kind := noKind
	if t.Name != "" {
		kind = s.opts.Kind(t.Name)
	}
	s.metrics.requests.WithLabelValues(kind, string(t.Outcome)).Inc()
	if t.Bytes > 0 {
		s.metrics.bytes.WithLabelValues(kind).Add(float64(t.Bytes))
	}
	if t.Outcome == Served {
		s.metrics.duration.Observe(t.Duration.Seconds())
	}
	if s.opts.OnTransfer != nil {
		s.opts.OnTransfer(t)
	}
}
