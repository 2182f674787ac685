package netcfg

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	changes *prometheus.CounterVec
	fights  prometheus.Counter
	dhcp    *prometheus.CounterVec
}

var (
	descUp        = prometheus.NewDesc("sae_net_link_up", "1 if the card is set up.", []string{"role", "link"}, nil)
	descCarrier   = prometheus.NewDesc("sae_net_link_carrier", "1 if the card has a carrier.", []string{"role", "link"}, nil)
	descAddressed = prometheus.NewDesc("sae_net_address_present", "1 if the card has the address that it should have.", []string{"role", "link"}, nil)
	descRepairs   = prometheus.NewDesc("sae_net_repairs_total", "Settings of ours that somebody changed and that were put back.", []string{"role", "link"}, nil)
	descLeaseEnds = prometheus.NewDesc("sae_net_wan_lease_expires_timestamp_seconds", "When the WAN's lease ends; 0 without one.", nil, nil)
)

// dhcpEvents are what happens to the WAN's DHCP client.
var dhcpEvents = []string{"discover", "bound", "renewed", "nak", "expired"}

func newMetrics() *metrics {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_net_changes_total", Help: "Changes of the network, by kind and outcome.",
		}, []string{"kind", "outcome"}),
		fights: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_net_fights_total", Help: "Times that repairing paused because somebody undid them each time.",
		}),
		dhcp: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_net_wan_dhcp_total", Help: "What happened to the WAN's DHCP client.",
		}, []string{"event"}),
	}
	for _, k := range order {
		m.changes.WithLabelValues(string(k), "made")
		m.changes.WithLabelValues(string(k), "failed")
	}
	for _, e := range dhcpEvents {
		m.dhcp.WithLabelValues(e)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descCarrier, descAddressed, descRepairs, descLeaseEnds} {
		ch <- d
	}
	for _, c := range []prometheus.Collector{m.metrics.changes, m.metrics.fights, m.metrics.dhcp} {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	st := m.Status()
	flag := map[bool]float64{true: 1}
	for role, l := range map[string]LinkStatus{"wan": st.WAN, "lan": st.LAN} {
		if l.Method == MethodNone {
			continue
		}
		ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, flag[l.Up], role, l.Name)
		ch <- prometheus.MustNewConstMetric(descCarrier, prometheus.GaugeValue, flag[l.Carrier], role, l.Name)
		ch <- prometheus.MustNewConstMetric(descAddressed, prometheus.GaugeValue, flag[l.Addressed], role, l.Name)
		ch <- prometheus.MustNewConstMetric(descRepairs, prometheus.CounterValue, float64(l.Repairs), role, l.Name)
	}
	ends := 0.0
	if l := st.WAN.Lease; l != nil {
		ends = float64(l.Expires.UnixNano()) / float64(time.Second)
	}
	ch <- prometheus.MustNewConstMetric(descLeaseEnds, prometheus.GaugeValue, ends)
	for _, c := range []prometheus.Collector{m.metrics.changes, m.metrics.fights, m.metrics.dhcp} {
		c.Collect(ch)
	}
}
