package firewall

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// scrapeTime bounds how long a scrape may wait for the kernel.
const scrapeTime = 5 * time.Second

type metrics struct {
	bans    *prometheus.CounterVec
	loads   *prometheus.CounterVec
	repairs prometheus.Counter
}

var (
	descActive  = prometheus.NewDesc("sae_firewall_active", "1 while our rules are in force.", nil, nil)
	descPackets = prometheus.NewDesc("sae_firewall_dropped_packets_total", "Packets dropped, by reason, since the table was made.", []string{"reason"}, nil)
	descBytes   = prometheus.NewDesc("sae_firewall_dropped_bytes_total", "Bytes dropped, by reason, since the table was made.", []string{"reason"}, nil)
	descBanned  = prometheus.NewDesc("sae_firewall_banned", "Senders that are banned now, by jail.", []string{"jail"}, nil)
	descSlow    = prometheus.NewDesc("sae_firewall_throttled", "Machines of the LAN that are slowed down now.", nil, nil)
)

func newMetrics() *metrics {
	m := &metrics{
		bans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_firewall_bans_total", Help: "Bans, by jail.",
		}, []string{"jail"}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_firewall_loads_total", Help: "Times that the rules were loaded, by outcome.",
		}, []string{"outcome"}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_firewall_repairs_total", Help: "Times that somebody took our rules away and they were put back.",
		}),
	}
	m.bans.WithLabelValues(shieldJail)
	for _, o := range []string{"loaded", "failed"} {
		m.loads.WithLabelValues(o)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descActive, descPackets, descBytes, descBanned, descSlow} {
		ch <- d
	}
	for _, c := range []prometheus.Collector{m.metrics.bans, m.metrics.loads, m.metrics.repairs} {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	m.mu.Lock()
	active, slow := m.status.Active, len(m.slow)
	banned := map[string]float64{shieldJail: 0}
	for _, r := range m.bans {
		if r.Until.After(time.Now()) {
			banned[r.Jail]++
		}
	}
	m.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descActive, map[bool]float64{true: 1}[active])
	gauge(descSlow, float64(slow))
	for jail, n := range banned {
		gauge(descBanned, n, jail)
	}
	if active {
		m.collectDrops(ctx, ch)
	}
	for _, c := range []prometheus.Collector{m.metrics.bans, m.metrics.loads, m.metrics.repairs} {
		c.Collect(ch)
	}
}

func (m *Manager) collectDrops(ctx context.Context, ch chan<- prometheus.Metric) {
	all, err := drops(ctx)
	if err != nil {
		m.log.Debug("cannot read the counters", "err", err)
		return
	}
	for reason, d := range all {
		ch <- prometheus.MustNewConstMetric(descPackets, prometheus.CounterValue, float64(d.Packets), reason)
		ch <- prometheus.MustNewConstMetric(descBytes, prometheus.CounterValue, float64(d.Bytes), reason)
	}
}
