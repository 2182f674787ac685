// Package scrape keeps a slow part from holding up a scrape: each part's collectors
// stand behind a guard with a time limit, and a scrape tells which part was left
// out. It knows nothing of what is collected.
package scrape

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// limit is how long one part may take. All parts are asked at the same time, and
// Prometheus waits ten seconds by default.
const limit = 2 * time.Second

// Guard is the collector of one part.
type Guard struct {
	inner    []prometheus.Collector
	limit    time.Duration
	busy     chan struct{} // holds one token while the part is being asked
	success  *prometheus.Desc
	duration *prometheus.Desc
}

// New returns a guard before a part's collectors. A registry takes one guard of each name.
func New(name string, inner ...prometheus.Collector) *Guard {
	label := prometheus.Labels{"collector": name}
	return &Guard{
		inner: inner, limit: limit, busy: make(chan struct{}, 1),
		success: prometheus.NewDesc("sae_scrape_collector_success",
			"1 if the part's metrics are in this scrape, 0 if it did not answer in time.", nil, label),
		duration: prometheus.NewDesc("sae_scrape_collector_duration_seconds",
			"How long the part took to answer this scrape.", nil, label),
	}
}

// Describe implements prometheus.Collector.
func (g *Guard) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range g.inner {
		c.Describe(ch)
	}
	ch <- g.success
	ch <- g.duration
}

// Collect implements prometheus.Collector. It returns within the limit.
func (g *Guard) Collect(ch chan<- prometheus.Metric) {
	began := time.Now()
	metrics, ok := g.ask()
	for _, m := range metrics {
		ch <- m
	}
	success := 0.0
	if ok {
		success = 1
	}
	ch <- prometheus.MustNewConstMetric(g.success, prometheus.GaugeValue, success)
	ch <- prometheus.MustNewConstMetric(g.duration, prometheus.GaugeValue, time.Since(began).Seconds())
}

// ask has the part collect. One that hangs is not asked again before it has
// answered: it costs one goroutine, whatever is scraped.
func (g *Guard) ask() ([]prometheus.Metric, bool) {
	late := time.NewTimer(g.limit)
	defer late.Stop()
	select {
	case g.busy <- struct{}{}:
	case <-late.C:
		return nil, false
	}
	answer := make(chan answer, 1)
	go func() {
		defer func() { <-g.busy }()
		answer <- collect(g.inner)
	}()
	select {
	case a := <-answer:
		return a.metrics, a.err == nil
	case <-late.C:
		return nil, false
	}
}

// answer is all that a part says in a scrape.
type answer struct {
	metrics []prometheus.Metric
	err     error
}

// collect gathers what collectors say. A panic is that part's alone.
func collect(inner []prometheus.Collector) answer {
	ch := make(chan prometheus.Metric)
	failed := make(chan error, 1)
	go func() {
		defer close(ch)
		defer func() {
			if p := recover(); p != nil {
				failed <- fmt.Errorf("panic: %v", p)
			}
		}()
		for _, c := range inner {
			c.Collect(ch)
		}
	}()
	var a answer
	for m := range ch {
		a.metrics = append(a.metrics, m)
	}
	select {
	case a.err = <-failed:
		a.metrics = nil
	default:
	}
	return a
}
