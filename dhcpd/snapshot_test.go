package dhcpd

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A scrape never waits for the server, nor the server for a scrape: it goes through
// while the server's lock is held.
func TestScrapeTakesNoLock(t *testing.T) {
	s, err := New(tinyConfig(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	s.mu.Lock() // never given back
	if n, err := testutil.GatherAndCount(reg, "sae_dhcp_leases", "sae_dhcp_pool_addresses"); err != nil || n != 7 {
		t.Errorf("%d series, %v", n, err)
	}
	if st := s.Status(); st.PoolSize != 6 || st.Serving {
		t.Errorf("%+v", st)
	}
}

// What is shown is what is so after each change.
func TestSnapshotIsCurrent(t *testing.T) {
	s, err := New(tinyConfig(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.setServing("")
	s.rivalAnswered(answer{serverID: tinyConfig().ServerID.Next(), from: carol.hw()})
	if st := s.Status(); st.Serving || len(st.Rivals) != 1 || st.Reason == "" {
		t.Errorf("with a rival: %+v", st)
	}
	cfg := tinyConfig()
	cfg.RangeLast = cfg.RangeLast.Prev()
	if err := s.Apply(cfg); err != nil || s.Status().PoolSize != 5 {
		t.Errorf("after Apply: %+v, %v", s.Status(), err)
	}
}
