package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reconciles measures how parts are brought in line with the configuration.
type Reconciles struct {
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	success  *prometheus.GaugeVec
}

// NewReconciles returns what has measured nothing yet.
func NewReconciles() *Reconciles {
	part := []string{"part"}
	return &Reconciles{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sae_reconcile_seconds",
			Help:    "Time to look at a part and make it as the configuration says.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10), // 1 ms to 262 s
		}, part),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_reconcile_failures_total",
			Help: "Times that a part could not be made as the configuration says.",
		}, part),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sae_reconcile_last_success_timestamp_seconds",
			Help: "When a part was last found, or made, as the configuration says; agent is for those that are changed only when the configuration is.",
		}, part),
	}
}

// Note says that a part was looked at and, where needed, changed.
func (r *Reconciles) Note(part string, took time.Duration, err error) {
	r.duration.WithLabelValues(part).Observe(took.Seconds())
	failures := r.failures.WithLabelValues(part) // begins at zero
	if err != nil {
		failures.Inc()
		return
	}
	r.success.WithLabelValues(part).SetToCurrentTime()
}

// Describe implements prometheus.Collector.
func (r *Reconciles) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{r.duration, r.failures, r.success} {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (r *Reconciles) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{r.duration, r.failures, r.success} {
		c.Collect(ch)
	}
}
