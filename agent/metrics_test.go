package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/metrics"
	partbackup "github.com/sae-agent/sae-agent/agent/parts/backup"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/scrape"
	"github.com/sae-agent/sae-agent/agent/services"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/verify"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/netcfg/qos"
	"github.com/sae-agent/sae-agent/tftpd"
)

// docs/metrics.md lists every metric; it is made from the collectors.
func TestMetricsPageIsCurrent(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(`# Metrics

Prometheus finds them at ` + "`http://<lan address>:9303/metrics`" + ` (` + "`http.listen`" + `), from the LAN and from the appliance itself.
Beside these there are the usual ones of the Go runtime and the process. Counters begin at zero when the daemon starts.
This page is made from the code.
`)
	for _, c := range collectorsOf(t) {
		fmt.Fprintf(&page, "\n## %s\n\n| Metric | Labels | |\n|---|---|---|\n", c.title)
		for _, row := range describe(c.collector) {
			page.WriteString(row)
		}
	}
	path := "../docs/metrics.md"
	golden.Equal(t, path, page.Bytes())
}

type titled struct {
	title     string
	collector prometheus.Collector
}

func collectorsOf(t *testing.T) []titled {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := leasedb.Open(t.Context(), filepath.Join(t.TempDir(), "leases.db"), leasedb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	lan := netip.MustParsePrefix("192.168.1.0/24")
	dhcp, err1 := dhcpd.New(dhcpd.Config{
		Interface: "ens34", ServerID: lan.Addr().Next(), Subnet: lan, LeaseTime: time.Hour,
		RangeFirst: netip.MustParseAddr("192.168.1.10"), RangeLast: netip.MustParseAddr("192.168.1.20"),
	}, db, dhcpd.Options{})
	tftp, err2 := tftpd.New(tftpd.Config{Listen: netip.MustParseAddrPort("127.0.0.1:69")}, nil, tftpd.Options{})
	net, err3 := netcfg.New(netcfg.Config{}, netcfg.Options{})
	fw, err6 := firewall.New(firewall.Config{Disabled: true}, firewall.Options{})
	ph, err4 := phones.New(t.Context(), phones.Config{}, phones.Deps{Store: phones.FileStore{Path: filepath.Join(t.TempDir(), "x")}, Logger: log})
	shaper, err5 := qos.New(qos.Config{}, qos.Options{})
	f2b, err7 := fail2ban.New(fail2ban.Config{}, fail2ban.Options{})
	st, err8 := stacks.New(stacks.Config{}, stacks.Options{Dir: t.TempDir(), Logger: log})
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return []titled{
		{"The agent", metrics.Collector(nil)}, {"Reconciling", metrics.NewReconciles()}, {"Scrapes", scrape.New("x")}, {"Phones and their files", ph}, {"DHCP server", dhcp}, {"Leases on disk", db}, {"TFTP server", tftp},
		{"HTTP server", web.New(web.Config{}, web.Sources{}, log)}, {"Network", net}, {"Firewall", fw}, {"fail2ban", f2b},
		{"Exchange", pbx.New(pbx.Desired{}, pbx.Deps{Logger: log, NewDriver: func(*ami.Client) pbx.Driver { return nil }})},
		{"Precedence of voice", shaper},
		{"Checks of sae-agent verify", new(verify.Last)},
		{"Backups", partbackup.Collector{}},
		{"Stacks", st},
		{"Services of others", services.New(nil, nil, log, nil)},
	}
}

var descText = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)",.* constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func describe(c prometheus.Collector) []string {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	var rows []string
	for d := range ch {
		m := descText.FindStringSubmatch(d.String())
		labels := ""
		fixed, _, _ := strings.Cut(m[3], "=") // one at most
		if names := strings.Trim(fixed+","+m[4], ","); names != "" {
			labels = "`" + strings.ReplaceAll(names, ",", "`, `") + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", m[1], labels, m[2]))
	}
	slices.Sort(rows)
	return rows
}
