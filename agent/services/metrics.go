package services

import "github.com/prometheus/client_golang/prometheus"

var (
	descActive  = prometheus.NewDesc("sae_unit_active", "1 while the service runs. Services that are not installed are left out.", []string{"unit"}, nil)
	descEnabled = prometheus.NewDesc("sae_unit_enabled", "1 if the service starts with the machine.", []string{"unit"}, nil)
	descChange  = prometheus.NewDesc("sae_unit_state_change_timestamp_seconds", "When the service last started, stopped or failed.", []string{"unit"}, nil)
)

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	ch <- descActive
	ch <- descEnabled
	ch <- descChange
}

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	for _, u := range w.Units() {
		flag := map[bool]float64{true: 1}
		ch <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, flag[u.Active()], u.Name)
		ch <- prometheus.MustNewConstMetric(descEnabled, prometheus.GaugeValue, flag[u.Enabled], u.Name)
		if !u.Since.IsZero() {
			ch <- prometheus.MustNewConstMetric(descChange, prometheus.GaugeValue, float64(u.Since.UnixMilli())/1000, u.Name)
		}
	}
}
