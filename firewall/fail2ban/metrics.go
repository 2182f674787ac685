package fail2ban

import "github.com/prometheus/client_golang/prometheus"

var (
	descUp   = prometheus.NewDesc("sae_fail2ban_up", "1 if fail2ban's server answered at the last look.", nil, nil)
	descJail = prometheus.NewDesc("sae_fail2ban_jail_up", "1 if fail2ban runs the jail.", []string{"jail"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	ch <- descUp
	ch <- descJail
}

// Collect implements prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	st, cfg := m.status, m.cfg
	m.mu.Unlock()
	gauge := func(d *prometheus.Desc, on bool, labels ...string) {
		value := 0.0
		if on {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(descUp, st.Up)
	for _, j := range cfg.Jails {
		gauge(descJail, st.has(j.Name), j.Name)
	}
}
