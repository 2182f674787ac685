package services

import "github.com/prometheus/client_golang/prometheus"

var (
	descActive = prometheus.NewDesc("sae_unit_active", "1 while the service runs. Services that are not installed are left out.", []string{"unit"}, nil)
	descChange = prometheus.NewDesc("sae_unit_state_change_timestamp_seconds", "When the service last started, stopped or failed.", []string{"unit"}, nil)
)

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	ch <- descActive
	ch <- descChange
}

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	for _, u := range w.Units() {
		active := 0.0
		if u.Active() {
			active = 1
		}
		ch <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, active, u.Name)
		if !u.Since.IsZero() {
			ch <- prometheus.MustNewConstMetric(descChange, prometheus.GaugeValue, float64(u.Since.UnixMilli())/1000, u.Name)
		}
	}
}
