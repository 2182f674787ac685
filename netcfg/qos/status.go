package qos

import (
	"encoding/binary"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Discipline says how a card is shaped.
type Discipline string

// Disciplines, the best first.
const (
	DisciplineCake Discipline = "cake" // diffserv4: voice, video, best effort, bulk
	DisciplineHTB  Discipline = "htb"  // voice, video, the rest
	DisciplineNone Discipline = "none"
)

// Status is how the card is shaped.
type Status struct {
	Link       string
	Rate       uint64 // bits per second that are asked for; 0: nothing is
	Discipline Discipline
	Repairs    uint64 // times that our queues were put back
	Problem    string // why nothing is shaped, and what to do; empty when nothing is wrong
}

// Status returns how the card was at the last look.
func (s *Shaper) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Traffic is what went through the queues of one class.
type Traffic struct {
	Class   string // voice, video, rest or bulk
	Bytes   uint64 // sent
	Dropped uint64 // packets
	Backlog uint64 // bytes that wait
}

var (
	descRate    = prometheus.NewDesc("sae_qos_rate_bytes_per_second", "Rate in bytes per second that the WAN's upload is shaped to; 0 when it is not.", []string{"link", "discipline"}, nil)
	descRepairs = prometheus.NewDesc("sae_qos_repairs_total", "Times that somebody changed our queues and they were put back.", nil, nil)
	descFights  = prometheus.NewDesc("sae_qos_fights_total", "Times that repairing paused because somebody undid it each time.", nil, nil)
	descBytes   = prometheus.NewDesc("sae_qos_sent_bytes_total", "Bytes that left through the queue of a class: voice, video, rest, bulk.", []string{"class"}, nil)
	descDropped = prometheus.NewDesc("sae_qos_dropped_packets_total", "Packets that the queue of a class dropped.", []string{"class"}, nil)
	descBacklog = prometheus.NewDesc("sae_qos_backlog_bytes", "Bytes that wait in the queue of a class.", []string{"class"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Shaper) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRate, descRepairs, descFights, descBytes, descDropped, descBacklog} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Shaper) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	st, fights, traffic := s.status, s.fights, s.traffic
	s.mu.Unlock()
	rate := 0.0
	if st.Discipline == DisciplineCake || st.Discipline == DisciplineHTB {
		rate = float64(st.Rate) / 8
	}
	if st.Link != "" {
		ch <- prometheus.MustNewConstMetric(descRate, prometheus.GaugeValue, rate, st.Link, string(st.Discipline))
	}
	ch <- prometheus.MustNewConstMetric(descRepairs, prometheus.CounterValue, float64(st.Repairs))
	ch <- prometheus.MustNewConstMetric(descFights, prometheus.CounterValue, float64(fights))
	for _, t := range traffic {
		ch <- prometheus.MustNewConstMetric(descBytes, prometheus.CounterValue, float64(t.Bytes), t.Class)
		ch <- prometheus.MustNewConstMetric(descDropped, prometheus.CounterValue, float64(t.Dropped), t.Class)
		ch <- prometheus.MustNewConstMetric(descBacklog, prometheus.GaugeValue, float64(t.Backlog), t.Class)
	}
}

// ReadTraffic returns what went through our queues of a card, by class, the first
// to be sent first; nothing when there are none.
func ReadTraffic(link string) ([]Traffic, error) {
	if link == "" {
		return nil, nil
	}
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	l, err := k.nl.LinkByName(link)
	if err != nil {
		return nil, nil // no card, no traffic
	}
	var out []Traffic
	err = eachQueue(func(index int, q queue, attrs []attribute) {
		if index == l.Attrs().Index && q.Handle == cakeMajor<<16 {
			out = cakeTraffic(attrs)
		}
	})
	if err != nil || out != nil {
		return out, err
	}
	classes, err := dump(func() ([]netlink.Class, error) { return k.nl.ClassList(l, netlink.HANDLE_NONE) })
	return htbTraffic(classes), err
}

// classNames are those of htb by their minor numbers.
var classNames = map[uint32]string{minorVoice: "voice", minorVideo: "video", minorRest: "rest"}

func htbTraffic(classes []netlink.Class) (out []Traffic) {
	for _, c := range classes {
		a := c.Attrs()
		name := classNames[a.Handle&0xffff]
		if a.Handle>>16 != htbMajor || name == "" || a.Statistics == nil || a.Statistics.Basic == nil || a.Statistics.Queue == nil {
			continue
		}
		out = append(out, Traffic{
			Class: name, Bytes: a.Statistics.Basic.Bytes, Dropped: uint64(a.Statistics.Queue.Drops), Backlog: uint64(a.Statistics.Queue.Backlog),
		})
	}
	return out
}

// Statistics of cake, linux/pkt_sched.h and linux/gen_stats.h.
const (
	statsApp       = 4 // TCA_STATS_APP
	cakeTinStats   = 10
	tinSentBytes64 = 3
	tinDropped     = 4
	tinBacklog     = 11
)

// tinNames are those of diffserv4 in the order of the kernel's tins.
var tinNames = []string{"bulk", "rest", "video", "voice"}

// cakeTraffic reads TCA_STATS2 of a cake.
func cakeTraffic(attrs []attribute) []Traffic {
	tins := nested(nested(nested(attrs, nl.TCA_STATS2), statsApp), cakeTinStats)
	var out []Traffic
	for i, tin := range tins {
		if i >= len(tinNames) {
			break
		}
		t := Traffic{Class: tinNames[i]}
		values, _ := attributes(tin.value)
		for _, v := range values {
			switch {
			case v.kind == tinSentBytes64 && len(v.value) >= 8:
				t.Bytes = binary.NativeEndian.Uint64(v.value)
			case v.kind == tinDropped && len(v.value) >= 4:
				t.Dropped = uint64(binary.NativeEndian.Uint32(v.value))
			case v.kind == tinBacklog && len(v.value) >= 4:
				t.Backlog = uint64(binary.NativeEndian.Uint32(v.value))
			}
		}
		out = append([]Traffic{t}, out...)
	}
	return out
}

// nested returns what is inside the attribute of a kind; nothing when there is none.
func nested(attrs []attribute, kind uint16) []attribute {
	for _, a := range attrs {
		if a.kind == kind {
			inner, _ := attributes(a.value)
			return inner
		}
	}
	return nil
}
