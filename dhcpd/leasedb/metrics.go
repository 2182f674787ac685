package leasedb

import (
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration prometheus.Histogram
	batch    prometheus.Histogram
	errors   *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sae_lease_store_commit_seconds",
			Help:    "Time to write one batch of leases and sync it to disk.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14), // 0.1 ms to 0.8 s
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sae_lease_store_batch_leases",
			Help:    "Leases written in one batch.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11), // 1 to 1024
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_lease_store_errors_total",
			Help: "Operations on the lease file that failed.",
		}, []string{"operation"}),
	}
	for _, op := range []string{"commit", "load"} {
		m.errors.WithLabelValues(op)
	}
	return m
}

func (m *metrics) observe(took time.Duration, leases int, err error) {
	if err != nil {
		m.errors.WithLabelValues("commit").Inc()
		return
	}
	m.duration.Observe(took.Seconds())
	m.batch.Observe(float64(leases))
}

var (
	descLeases    = prometheus.NewDesc("sae_lease_store_leases", "Leases in the lease file, expired ones included.", nil, nil)
	descSize      = prometheus.NewDesc("sae_lease_store_size_bytes", "Size of the lease file.", nil, nil)
	descRecovery  = prometheus.NewDesc("sae_lease_store_recovery_seconds", "For how long addresses are still probed because leases were lost.", nil, nil)
	descDropped   = prometheus.NewDesc("sae_lease_store_dropped_records", "Single damaged records removed when the file was opened.", nil, nil)
	descSetAside  = prometheus.NewDesc("sae_lease_store_set_aside", "1 if the file was damaged when it was opened and an empty one took its place.", nil, nil)
	constantDescs = []*prometheus.Desc{descLeases, descSize, descRecovery, descDropped, descSetAside}
)

// Describe implements prometheus.Collector.
func (db *DB) Describe(ch chan<- *prometheus.Desc) {
	db.metrics.duration.Describe(ch)
	db.metrics.batch.Describe(ch)
	db.metrics.errors.Describe(ch)
	for _, d := range constantDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It does not wait for a commit.
func (db *DB) Collect(ch chan<- prometheus.Metric) {
	db.metrics.duration.Collect(ch)
	db.metrics.batch.Collect(ch)
	db.metrics.errors.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(descLeases, float64(db.shown.Load().count))
	if info, err := os.Stat(db.path); err == nil {
		gauge(descSize, float64(info.Size()))
	}
	var left float64
	if until := db.RecoverUntil(); !until.IsZero() {
		left = until.Sub(db.now()).Seconds()
	}
	gauge(descRecovery, left)
	gauge(descDropped, float64(db.opening.Dropped))
	setAside := 0.0
	if db.opening.SetAside != "" {
		setAside = 1
	}
	gauge(descSetAside, setAside)
}
