package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// report is what --json prints.
type report struct {
	Phones []sim.Result `json:"phones"`
	Calls  []sim.Call   `json:"calls"`
	sim.Summary
}

// boot runs phonesim with --json.
func (s *site) boot(wantStatus int, args ...string) report {
	s.t.Helper()
	status, out, errs := s.phonesim(append(args, "--json")...)
	if status != wantStatus {
		s.t.Fatalf("exit status %d, want %d\n%s%s", status, wantStatus, out, errs)
	}
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.t.Fatalf("%v\n%s%s", err, out, errs)
	}
	return r
}

func TestStormAgainstDnsmasq(t *testing.T) {
	const n = 200
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,192.168.0.1")
	r := s.boot(exitOK, "--storm", "--inventory", s.inventory(n))
	if r.Failed != 0 || r.Lost != 0 || r.States[sim.Provisioned] != n || len(r.Phones) != n {
		t.Errorf("%d failed, %d frames lost, states %v of %d phones", r.Failed, r.Lost, r.States, len(r.Phones))
	}
	addresses := make(map[string]bool)
	for _, p := range r.Phones {
		addresses[p.Addr] = true
		if p.DHCP <= 0 || p.Fetched <= 0 || p.Total < p.DHCP+p.Fetched {
			t.Errorf("%s: dhcp %v, files %v, total %v", p.MAC, p.DHCP, p.Fetched, p.Total)
		}
	}
	if len(addresses) != n {
		t.Errorf("%d addresses for %d phones", len(addresses), n)
	}
	if p := r.Stages[sim.StageTotal]; p.P50 <= 0 || p.P50 > p.Max || p.Max > time.Minute {
		t.Errorf("total %+v", p)
	}
	t.Logf("%d phones at once: %d DHCP messages repeated, %+v", n, r.Repeated, r.Stages)
}
