package prometheus

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// The site: two phones that are switched on, and one that is not.
const siteConfig = `site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33, method: dhcp}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100, force: true}
provisioning: {root: DIR/root}
backup: {dir: DIR/backups, window: off}
pbx: {driver: asterisk}
firewall: {enabled: true}
qos: {wan_upload: 20mbit}
extensions:
  - {number: "100", name: Alice}
  - {number: "101", name: Bob}
  - {number: "102", name: Carol}
phones:
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "100"}
  - {mac: "00:15:65:00:00:02", model: T54W, extension: "101"}
  - {mac: "00:15:65:00:00:03", model: T46S, extension: "102"}
`

const inventory = `[{"mac":"001565000001","model":"T42U","extension":"100"},{"mac":"001565000002","model":"T54W","extension":"101"}]`

const appliance = "192.168.1.1:9303"

// site is an appliance between a provider and a LAN, with a Prometheus on the LAN.
type site struct {
	t        *testing.T
	dir      string
	programs string
	lab      *labtest.Lab
	host     *labtest.Host // the appliance
	monitor  *labtest.Host
	phones   *labtest.Host
	exchange *asterisk.Server
}

func newSite(t *testing.T) *site {
	l := labtest.New(t)
	s := &site{t: t, dir: t.TempDir(), lab: l, host: l.Host("appliance"), monitor: l.Host("monitor"), phones: l.Host("phones")}
	s.programs = filepath.Join(s.dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.programs+"/", "./cmd/...")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	provider, lan := l.Host("provider"), l.Switch("lan")
	l.Connect(s.host, "ens33", provider, "eth0")
	lan.Plug(s.host, "ens34")
	lan.Plug(s.monitor, "eth0")
	lan.Plug(s.phones, "eth0")
	provider.Addr("eth0", "198.51.100.1/24")
	s.monitor.Addr("eth0", "192.168.1.200/24")
	provider.Start("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0", "--dhcp-range=198.51.100.50,198.51.100.59").WaitOutput("DHCP, IP range")
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// startAgent runs the daemon and waits until it answers.
func (s *site) startAgent(config string) {
	s.t.Helper()
	if err := os.MkdirAll(s.path("root"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write("config.yaml", config)
	s.host.Start("env", "PATH="+s.path("asterisk/bin")+":"+os.Getenv("PATH"), filepath.Join(s.programs, "sae-agent"), "run", "--config", s.path("config.yaml"), "--state-dir", s.path("state"), "--runtime-dir", s.path("run"), "--resolv-conf", "")
	labtest.Eventually(s.t, func() error {
		out, err := s.monitor.Command("curl", "-sS", "--max-time", "5", "http://"+appliance+"/metrics").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "sae_config_info{") {
			return fmt.Errorf("no metrics yet: %v: %.200s", err, out)
		}
		return nil
	})
}

var waits = regexp.MustCompile(`(?m)^ +for: .*\n`)

// startPrometheus runs a Prometheus with our rules, without their waiting times.
func (s *site) startPrometheus() {
	s.t.Helper()
	rules, err := os.ReadFile("rules/sae-agent.yml")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("rules.yml", waits.ReplaceAllString(string(rules), ""))
	shipped, err := os.ReadFile("prometheus.yml")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("prometheus.yml", strings.NewReplacer(
		"/usr/share/sae-agent/prometheus/rules/*.yml", s.path("rules.yml"),
		"scrape_interval: 15s", "scrape_interval: 1s", "evaluation_interval: 15s", "evaluation_interval: 1s",
	).Replace(string(shipped)))
	s.monitor.Start("prometheus", "--config.file="+s.path("prometheus.yml"), "--storage.tsdb.path="+s.path("tsdb"), "--web.listen-address=127.0.0.1:9090").
		WaitOutput("Server is ready to receive web requests")
}

// sample is one series of an instant query.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

// query asks Prometheus.
func (s *site) query(expr string) ([]sample, error) {
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	out, err := s.monitor.Command("curl", "-sS", "--max-time", "30", "http://127.0.0.1:9090/api/v1/query", "--data", url.Values{"query": {expr}}.Encode()).Output()
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	if err == nil && answer.Status != "success" {
		err = fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return answer.Data.Result, err
}

// eventually waits until an expression has a series.
func (s *site) eventually(expr string) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		got, err := s.query(expr)
		if err == nil && len(got) == 0 {
			err = fmt.Errorf("nothing for %s", expr)
		}
		return err
	})
}

// startExchange gives the appliance an Asterisk that the agent configures.
func (s *site) startExchange() {
	s.t.Helper()
	root, err := asterisk.Root()
	if err == nil {
		s.exchange, err = asterisk.Install(s.t.Context(), s.host.Host, root, s.path("asterisk"))
	}
	if err == nil {
		err = s.exchange.Start(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// boot has the phones of the inventory come up, and stay on.
func (s *site) boot() {
	s.t.Helper()
	s.write("inventory.json", inventory)
	s.phones.Start(filepath.Join(s.programs, "phonesim"), "--interface", "eth0", "--inventory", s.path("inventory.json"), "--register", "--stay")
}

// operator returns an operator's command.
func (s *site) operator(args ...string) *exec.Cmd {
	return s.host.Command(filepath.Join(s.programs, "sae-agent"), append([]string{"--runtime-dir", s.path("run")}, args...)...)
}

// panelQuery is one expression of a dashboard.
type panelQuery struct{ panel, about, expr string }

func panelQueries(t *testing.T) []panelQuery {
	t.Helper()
	files, err := filepath.Glob("../grafana/dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	variables := strings.NewReplacer("$instance", ".+", "$__rate_interval", "1m", "$__range", "5m")
	var out []panelQuery
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Title  string
			Panels []struct {
				Title, Description string
				Targets            []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Panels {
			for _, target := range p.Targets {
				out = append(out, panelQuery{page.Title + ": " + p.Title, p.Description, variables.Replace(target.Expr)})
			}
		}
	}
	return out
}

// marker ends the description of a panel that may be empty; what follows says when.
var marker = regexp.MustCompile(`Empty (?:while|until|where|when) [^.]*\((\w+)\)\.$`)

// A real Prometheus scrapes a real agent with a real exchange while phones boot.
func TestAppliance(t *testing.T) {
	s := newSite(t)
	s.startExchange()
	s.startAgent(strings.ReplaceAll(siteConfig, "DIR", s.dir))
	s.startPrometheus()
	s.eventually(`sae_pbx_up == 1`)
	s.boot()
	s.eventually(`sae_phone_boot_seconds_count{stage="registered"} == 2`)
	s.eventually(`rate(sae_phone_boot_seconds_count{stage="registered"}[1m]) > 0`)
	s.eventually(`instance_stage:sae_phone_boot_seconds:p95_1h{stage="registered"}`)
	s.eventually(`sae_extension_rtt_seconds`)
	if out, err := s.operator("backup", "create").CombinedOutput(); err != nil {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	_ = s.operator("verify").Run() // what it finds is for other tests
	s.eventually(`sae_backup_last_success_timestamp_seconds > 0 and on () sae_verify_success`)
	s.eventually(`ALERTS{alertname="SaePhoneNotProvisioned",alertstate="firing",extension="102"}`)
	s.everyExpression()
	s.checkScrape()
	s.hang()
	s.kill()
}

// everyExpression asks for each expression of each panel and rule. It has data, or
// its panel says of which part that is off here.
func (s *site) everyExpression() {
	s.t.Helper()
	off := s.partsThatAreOff()
	for _, q := range panelQueries(s.t) {
		got, err := s.query(q.expr)
		if err != nil {
			s.t.Errorf("%s: %s: %v", q.panel, q.expr, err)
			continue
		}
		s.t.Logf("%3d series  %s: %s", len(got), q.panel, q.expr)
		if needs := marker.FindStringSubmatch(q.about); len(got) == 0 && (needs == nil || !slices.Contains(off, needs[1])) {
			s.t.Errorf("%s: no data for %s", q.panel, q.expr)
		}
	}
	for _, r := range readRules(s.t) {
		s.askRule(r, off)
	}
}

// hang stops the exchange's process: every scrape goes on, and says that it is down.
func (s *site) hang() {
	s.t.Helper()
	pid, err := s.exchange.PID()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGSTOP)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.eventually(`ALERTS{alertname="SaePBXDown",alertstate="firing"}`)
	s.eventually(`sae_scrape_collector_success{collector="pbx"} == 1 and on () up == 1 and on () sae_pbx_up == 0`)
	if out := s.monitor.Run("curl", "-sS", "--max-time", "10", "http://"+appliance+"/metrics"); !strings.Contains(out, "\nsae_pbx_up 0\n") {
		s.t.Errorf("a scrape while the exchange hangs:\n%s", out)
	}
	if out, _ := s.operator("status").CombinedOutput(); !strings.Contains(string(out), "\nConfiguration ") || !strings.Contains(string(out), "pbx") {
		s.t.Errorf("status while the exchange hangs:\n%s", out)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && s.exchange.Running() { // the agent may have started it anew
		s.t.Fatal(err)
	}
	s.wellAgain()
}

// kill ends the exchange with no warning: an alert fires, and ends when it is back.
func (s *site) kill() {
	s.t.Helper()
	if err := s.exchange.Kill(); err != nil {
		s.t.Fatal(err)
	}
	s.eventually(`ALERTS{alertname="SaePBXDown",alertstate="firing"}`)
	s.wellAgain()
}

// wellAgain waits until the exchange is back, whoever starts it, and no alert fires.
func (s *site) wellAgain() {
	s.t.Helper()
	s.eventually(`sae_pbx_up == 1 unless on (instance) ALERTS{alertname="SaePBXDown",alertstate="firing"}`)
}

// partsThatAreOff are those that need not have data here, in the words of the panels.
func (s *site) partsThatAreOff() []string {
	s.t.Helper()
	off := []string{"trouble", "units", "fail2ban"}
	got, err := s.query(`sae_feature_enabled == 0`)
	if err != nil || len(got) == 0 {
		s.t.Fatalf("which features are off? %v", err)
	}
	for _, f := range got {
		switch name := f.Metric["feature"]; name {
		case "jitsi", "nextcloud":
			off = append(off, "stacks")
		default:
			off = append(off, name)
		}
	}
	return off
}

var metricName = regexp.MustCompile(`\b(?:instance[a-z_]*:)?(?:sae_[a-z0-9_]+|up)(?::[a-z0-9_]+)?\b`)

// onlyWhileWrong are metrics that have a series for each thing that is wrong.
var onlyWhileWrong = []string{"sae_dhcp_rival_info", "sae_problem"}

// askRule asks for a rule. An alert has no data when all is well, so what it is about
// is asked for.
func (s *site) askRule(r rule, off []string) {
	s.t.Helper()
	name, asked := r.Record+r.Alert, []string{r.Expr}
	if r.Alert != "" {
		asked = append(asked, metricName.FindAllString(r.Expr, -1)...)
	}
	for i, expr := range asked {
		got, err := s.query(expr)
		if err != nil {
			s.t.Errorf("rule %s: %s: %v", name, expr, err)
			continue
		}
		s.t.Logf("%3d series  rule %s: %s", len(got), name, expr)
		mayBeEmpty := r.Alert != "" && i == 0 || slices.Contains(off, r.Annotations["needs"]) || slices.Contains(onlyWhileWrong, expr)
		if len(got) == 0 && !mayBeEmpty {
			s.t.Errorf("rule %s: no data for %s", name, expr)
		}
	}
}

var documented = regexp.MustCompile("(?m)^\\| `(sae_[a-z0-9_]+)`")

// checkScrape has promtool look at a scrape, and finds each of our metrics in the
// documentation.
func (s *site) checkScrape() {
	s.t.Helper()
	scrape := s.monitor.Run("curl", "-sS", "http://"+appliance+"/metrics")
	s.write("scrape", scrape)
	if out, err := exec.CommandContext(s.t.Context(), "sh", "-c", "promtool check metrics < "+s.path("scrape")).CombinedOutput(); err != nil {
		s.t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		s.t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, m := range documented.FindAllStringSubmatch(string(doc), -1) {
		known[m[1]] = true
	}
	n := 0
	for line := range strings.Lines(scrape) {
		if name, ok := strings.CutPrefix(line, "# TYPE sae_"); ok {
			name, _, _ = strings.Cut("sae_"+name, " ")
			if n++; !known[name] {
				s.t.Errorf("%s is exported and not in docs/metrics.md", name)
			}
		}
	}
	if n < 50 {
		s.t.Errorf("only %d metrics were exported", n)
	}
}
