package scrape

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// part is a collector that does something before it answers.
type part struct {
	desc *prometheus.Desc
	do   func()
}

func newPart(name string, do func()) part {
	return part{prometheus.NewDesc(name, "A part.", nil, nil), do}
}

func (p part) Describe(ch chan<- *prometheus.Desc) { ch <- p.desc }

func (p part) Collect(ch chan<- prometheus.Metric) {
	p.do()
	ch <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, 1)
}

// One part hangs, one panics: the third is in every scrape, and each says how it was.
func TestOnePartNeverHoldsUpTheRest(t *testing.T) {
	asked, letGo := make(chan struct{}, 10), make(chan struct{})
	hangs := New("hangs", newPart("hanging", func() { asked <- struct{}{}; <-letGo }))
	hangs.limit = 20 * time.Millisecond
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(hangs, New("panics", newPart("panicking", func() { panic("out of order") })), New("fine", newPart("answering", func() {})))
	const want = `# HELP answering A part.
# TYPE answering gauge
answering 1
# HELP sae_scrape_collector_success 1 if the part's metrics are in this scrape, 0 if it did not answer in time.
# TYPE sae_scrape_collector_success gauge
sae_scrape_collector_success{collector="fine"} 1
sae_scrape_collector_success{collector="hangs"} 0
sae_scrape_collector_success{collector="panics"} 0
`
	names := []string{"answering", "hanging", "panicking", "sae_scrape_collector_success"}
	for range 3 {
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(asked); n != 1 {
		t.Errorf("a part that hangs was asked %d times", n)
	}
	close(letGo) // it answers again
	hangs.limit = time.Minute
	if n, err := testutil.GatherAndCount(reg, "hanging"); n != 1 || err != nil {
		t.Errorf("after it has recovered: %d series, %v", n, err)
	}
}
