package dhcpd

import (
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"
)

// maxType is the highest message type that has metrics of its own.
const maxType = dhcpv4.MessageTypeInform

type metrics struct {
	received   *prometheus.CounterVec
	sent       *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	sendErrors prometheus.Counter
	latency    *prometheus.HistogramVec
	durable    prometheus.Histogram
	conflicts  prometheus.Counter
	// The metrics of each message type, to be found without a search.
	receivedOf, sentOf [maxType + 1]prometheus.Counter
	latencyOf          [maxType + 1]prometheus.Observer
}

var (
	receivedTypes = []dhcpv4.MessageType{
		dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline,
		dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeInform,
	}
	sentTypes   = []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak}
	dropReasons = []string{
		dropMalformed, dropNotForUs, dropRelay, dropRate, dropUnknown, dropFull, dropNotItsOwn, dropRival, dropOverload, dropStore, dropUnsupported,
	}
)

func newMetrics() *metrics {
	m := &metrics{
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_dhcp_messages_received_total",
			Help: "Well-formed messages from clients, by message type.",
		}, []string{"type"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_dhcp_messages_sent_total",
			Help: "Replies sent, by message type.",
		}, []string{"type"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_dhcp_dropped_total",
			Help: "Messages without a reply, by the reason for it.",
		}, []string{"reason"}),
		sendErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_dhcp_send_errors_total",
			Help: "Replies that were lost because the kernel had no room for them.",
		}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sae_dhcp_reply_seconds",
			Help:    "Time from reading a message to sending its reply; an ACK includes the disk, an OFFER the ARP probe.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14), // 0.1 ms to 0.8 s
		}, []string{"type"}),
		durable: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sae_dhcp_durable_seconds",
			Help:    "Time from reading a message to its lease being on disk.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14), // 0.1 ms to 0.8 s
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sae_dhcp_conflicts_total",
			Help: "Addresses found in use by another machine, by DECLINE or by ARP.",
		}),
	}
	for _, t := range receivedTypes {
		m.receivedOf[t] = m.received.WithLabelValues(label(t))
	}
	for _, t := range sentTypes {
		m.sentOf[t], m.latencyOf[t] = m.sent.WithLabelValues(label(t)), m.latency.WithLabelValues(label(t))
	}
	for _, r := range dropReasons {
		m.dropped.WithLabelValues(r)
	}
	return m
}

// label names a message type; a client can send any of 256.
func label(t dhcpv4.MessageType) string {
	switch t {
	case dhcpv4.MessageTypeDiscover:
		return "discover"
	case dhcpv4.MessageTypeOffer:
		return "offer"
	case dhcpv4.MessageTypeRequest:
		return "request"
	case dhcpv4.MessageTypeDecline:
		return "decline"
	case dhcpv4.MessageTypeAck:
		return "ack"
	case dhcpv4.MessageTypeNak:
		return "nak"
	case dhcpv4.MessageTypeRelease:
		return "release"
	case dhcpv4.MessageTypeInform:
		return "inform"
	}
	return "other"
}

func (m *metrics) in(t dhcpv4.MessageType) {
	if t <= maxType && m.receivedOf[t] != nil {
		m.receivedOf[t].Inc()
		return
	}
	m.received.WithLabelValues(label(t)).Inc()
}

func (m *metrics) out(t dhcpv4.MessageType, took time.Duration) {
	m.sentOf[t].Inc()
	m.latencyOf[t].Observe(took.Seconds())
}

func (m *metrics) drop(reason string) { m.dropped.WithLabelValues(reason).Inc() }

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.received, m.sent, m.dropped, m.sendErrors, m.latency, m.durable, m.conflicts}
}

var (
	descServing = prometheus.NewDesc("sae_dhcp_serving", "1 while the server answers, 0 while it is silent.", nil, nil)
	descRivals  = prometheus.NewDesc("sae_dhcp_rivals", "Other DHCP servers that answer on the LAN.", nil, nil)
	descRival   = prometheus.NewDesc("sae_dhcp_rival_info", "1 for each other DHCP server that answers on the LAN. The port is what a switch or relay told of it (option 82), in hexadecimal.", []string{"server", "mac", "port"}, nil)
	descForeign = prometheus.NewDesc("sae_dhcp_foreign_servers", "DHCP servers that clients chose in the last hour and that do not answer our search.", nil, nil)
	descPool    = prometheus.NewDesc("sae_dhcp_pool_addresses", "Addresses of the range that can be given out.", nil, nil)
	descFree    = prometheus.NewDesc("sae_dhcp_pool_free_addresses", "Addresses of the range that nobody has or had.", nil, nil)
	descLeases  = prometheus.NewDesc("sae_dhcp_leases", "Addresses by state, reservations outside the range included.", []string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.metrics.all() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{descServing, descRivals, descRival, descForeign, descPool, descFree, descLeases} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It takes no lock of the server's.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.metrics.all() {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	st := s.shown.Load()
	serving := 0
	if st.Serving {
		serving = 1
	}
	gauge(descServing, serving)
	gauge(descRivals, len(st.Rivals))
	for _, r := range st.Rivals {
		gauge(descRival, 1, r.ServerID.String(), r.MAC.String(), r.Port)
	}
	gauge(descForeign, len(st.Foreign))
	gauge(descPool, st.PoolSize)
	gauge(descFree, st.PoolSize-st.PoolUsed)
	for state := StateOffered; state < stateCount; state++ {
		gauge(descLeases, st.states[state], state.String())
	}
}
