package agent

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/scrape"
	"github.com/sae-agent/sae-agent/agent/web"
)

// Every phone of a large site is in one scrape.
func TestScrapeOf5000Phones(t *testing.T) {
	const n = 5000
	cfg := phones.Config{Unknown: phones.Approve}
	for i := range n {
		number := fmt.Sprint(10000 + i)
		cfg.Extensions = append(cfg.Extensions, yealink.Account{Number: number, Name: "Phone " + number})
		mac := net.HardwareAddr{0, 0x15, 0x65, 0, byte(i >> 8), byte(i)}
		cfg.Phones = append(cfg.Phones, phones.Phone{MAC: mac, Model: "T42U", Extension: number})
	}
	log := slog.New(slog.DiscardHandler)
	s, err := phones.New(t.Context(), cfg, phones.Deps{Store: phones.FileStore{Path: filepath.Join(t.TempDir(), "phones.json")}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range cfg.Phones {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		s.Seen(phones.Sighting{MAC: p.MAC, At: time.Now()})
		s.Seen(phones.Sighting{MAC: p.MAC, At: time.Now(), Addr: addr})
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(scrape.New("phones", s))
	web := httptest.NewServer(web.New(web.Config{}, web.Sources{Metrics: reg}, log).Handler())
	defer web.Close()
	resp, err := web.Client().Get(web.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	count := make(map[string]int)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), "{")
		count[name]++
		if strings.HasPrefix(lines.Text(), `sae_scrape_collector_success{collector="phones"} `) && !strings.HasSuffix(lines.Text(), " 1") {
			t.Error("the phones did not answer in time")
		}
	}
	for _, name := range []string{"sae_phone_info", "sae_phone_state", "sae_phone_last_fetch_timestamp_seconds", "sae_phone_last_registration_timestamp_seconds"} {
		if count[name] != n {
			t.Errorf("%s: %d series, want %d", name, count[name], n)
		}
	}
}
