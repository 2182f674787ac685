package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/dhcpload"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == childFlag {
		exit(runChild(os.Args[2], os.Args[3]))
	}
	lab.Main(m, func() error { return goleak.Find() })
}

// Every peer runs as it is configured for the comparison: it offers the addresses
// that clients hold already, gives others to new ones, and serves the file.
func TestPeers(t *testing.T) {
	for _, c := range contenders {
		if c.name == ours {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			self, err := lab.Self()
			if err != nil {
				t.Fatal(err)
			}
			b := &runner{options: options{dir: t.TempDir(), short: true}, self: self, results: results{}}
			err = b.with(t.Context(), c, 300, func(ctx context.Context, s *site, up started) error {
				up, err := s.restart(ctx, up)
				if err != nil || up.took <= 0 {
					t.Errorf("started again after %v: %v", up.took, err)
				}
				r, err := s.load(ctx, dhcpload.Config{Clients: s.leases, Count: 300, Duration: 20 * time.Second})
				if err != nil {
					return err
				}
				if r.Done < 300 || r.Duplicates > 0 || r.Naks > 0 {
					t.Errorf("exchanges: %+v", r)
				}
				kb, err := residentKB(up.processes)
				if err != nil || kb < 500 {
					t.Errorf("memory: %d kB, %v", kb, err)
				}
				return b.files(ctx, s, c, filesRate, 0)
			})
			if err != nil {
				t.Error(err)
			}
			if got := b.results.median(c.name, filesRate.key); !(got > 0) || len(b.notes) > 0 {
				t.Errorf("files: %v per second, %q", got, b.notes)
			}
			if left, _ := os.ReadDir(b.dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPerfdhcp(t *testing.T) {
	b := &runner{options: options{dir: t.TempDir(), short: true}, results: results{}}
	self, err := lab.Self()
	if err != nil {
		t.Fatal(err)
	}
	b.self = self
	c := chosen("kea")[0]
	err = b.with(t.Context(), c, 300, func(ctx context.Context, s *site, _ started) error {
		reached, dropped, err := s.perfdhcpAt(ctx, 50, time.Second)
		if err == nil && (reached < 25 || reached > 75 || dropped > 50) {
			t.Errorf("at 50 per second: %v reached, %v %% dropped", reached, dropped)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestParsePerfdhcp(t *testing.T) {
	out, err := os.ReadFile("testdata/perfdhcp.txt")
	if err != nil {
		t.Fatal(err)
	}
	offers, err := parsePerfdhcp(string(out), "DISCOVER-OFFER")
	if want := (perfStats{sent: 6049, received: 5999}); err != nil || offers != want {
		t.Errorf("offers %+v, %v, want %+v", offers, err, want)
	}
	if d := offers.dropped(); d < 0.82 || d > 0.83 {
		t.Errorf("dropped %v %%", d)
	}
	if acks, err := parsePerfdhcp(string(out), "RENEW-ACK"); err == nil {
		t.Errorf("a section that is not there: %+v", acks)
	}
}

func sampleReport() report {
	r := report{
		contenders: contenders, results: results{}, notes: []string{"dnsmasq, round 2: did not start"},
		command: "go run ./packaging/dev/bench",
		machine: machine{
			cpu: "2 x Some CPU", kernel: "6.1", memory: "8 GB", disk: "ext4", load: "0.1 0.1 0.1",
			fsync: 250 * time.Microsecond, versions: []string{"dnsmasq: 2.90"}, at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		},
	}
	add := func(m measure, values map[string][]float64) {
		for server, all := range values {
			for _, v := range all {
				r.results.add(server, m.key, v)
			}
		}
	}
	add(stormTime, map[string][]float64{ours: {0.8, 1.234, 0.9}, kea: {21.5}, isc: {25}, masq: {40}})
	add(stormRepeats, map[string][]float64{ours: {0}, kea: {900}, isc: {1100}, masq: {1300}})
	add(stormFailed, map[string][]float64{ours: {3}, kea: {0}, isc: {0}, masq: {12}})
	add(exchangesFew, map[string][]float64{ours: {19999, 20001}, kea: {8000}, isc: {300}, masq: {700}})
	add(exchangesMany, map[string][]float64{ours: {12000}, kea: {8400}, isc: {301}, masq: {0}})
	add(memory, map[string][]float64{ours: {31.25}, kea: {22}, isc: {12}, masq: {4}})
	return r
}

func TestReport(t *testing.T) {
	r := sampleReport()
	for name, got := range map[string]string{"report.txt": r.text(), "report.md": r.markdown()} {
		path := filepath.Join("testdata", name)
		golden.Equal(t, path, got)
	}
}

func TestChosen(t *testing.T) {
	names := func(only string) string {
		var all []string
		for _, c := range chosen(only) {
			all = append(all, c.name)
		}
		return strings.Join(all, ", ")
	}
	for only, want := range map[string]string{
		"kea": kea, "sae,dnsmasq": "sae-agent, dnsmasq", "none": "",
		"": "sae-agent, kea + tftpd-hpa, isc-dhcpd + tftpd-hpa, dnsmasq",
	} {
		if got := names(only); got != want {
			t.Errorf("-only %q: %s, want %s", only, got, want)
		}
	}
}
