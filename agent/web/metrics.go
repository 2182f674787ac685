package web

import (
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What is asked for, the label "kind", besides Sources.Kinds.
const (
	kindMetrics   = "metrics"
	kindHealth    = "health"
	kindPhonebook = "phonebook"
	kindSoftphone = "softphone"
	kindFile      = "file" // where Sources has no Kind
	kindOther     = "other"
)

// How it ended, the label "outcome".
const (
	outcomeOK       = "ok"
	outcomeNotFound = "not_found"
	outcomeDenied   = "denied"
	outcomeOutside  = "from_outside" // not from the LAN
	outcomeError    = "error"
)

var outcomes = [...]string{outcomeOK, outcomeNotFound, outcomeDenied, outcomeOutside, outcomeError}

type metrics struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics presets every kind, fileKinds among them.
func newMetrics(fileKinds []string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_http_requests_total",
			Help: "HTTP requests answered, by what was asked for and the outcome.",
		}, []string{"kind", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sae_http_sent_bytes_total",
			Help: "Bytes of HTTP answers without their heads, by what was asked for.",
		}, []string{"kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sae_http_request_seconds",
			Help:    "Time from an HTTP request to the end of its answer, by what was asked for.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10), // 0.5 ms to 131 s
		}, []string{"kind"}),
	}
	kinds := []string{kindMetrics, kindHealth, kindPhonebook, kindSoftphone, kindOther}
	for _, k := range append(kinds, fileKinds...) {
		for _, o := range outcomes {
			m.requests.WithLabelValues(k, o)
		}
		m.bytes.WithLabelValues(k)
		m.duration.WithLabelValues(k)
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes, m.duration}
}

// count counts the answers of next by kind and outcome.
func (m *metrics) count(kind func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(rec, r)
		k := kind(r)
		m.requests.WithLabelValues(k, outcomeOf(rec.code)).Inc()
		m.bytes.WithLabelValues(k).Add(float64(rec.bytes))
		m.duration.WithLabelValues(k).Observe(time.Since(began).Seconds())
	})
}

func always(kind string) func(*http.Request) string {
	return func(*http.Request) string { return kind }
}

func outcomeOf(code int) string {
	switch {
	case code < 400:
		return outcomeOK
	case code == http.StatusNotFound:
		return outcomeNotFound
	case slices.Contains([]int{http.StatusForbidden, http.StatusUnauthorized}, code):
		return outcomeDenied
	}
	return outcomeError
}

// recorder notes what is answered.
type recorder struct {
	http.ResponseWriter
	code  int
	bytes int64
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
