package prometheus

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// rule is one recording or alerting rule.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	readYAML(t, "rules/sae-agent.yml", &file)
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 20 {
		t.Fatalf("only %d rules", len(out))
	}
	return out
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Prometheus' own tool accepts the files, and the rules do what their tests say.
func TestPromtool(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "rules/sae-agent.yml"}, {"check", "config", "prometheus.yml"}, {"test", "rules", "tests/sae-agent.yml", "tests/slow.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q (Debian package prometheus): %v\n%s", args, err, out)
		}
	}
}

// Each alert has a case in which it fires and one in which it does not.
func TestEachAlertIsTested(t *testing.T) {
	type file struct {
		Tests []struct {
			Rules []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	var quick, slow file
	readYAML(t, "tests/sae-agent.yml", &quick)
	readYAML(t, "tests/slow.yml", &slow)
	fires, rests := make(map[string]bool), make(map[string]bool)
	for _, c := range append(quick.Tests, slow.Tests...) {
		for _, r := range c.Rules {
			if len(r.Want) > 0 {
				fires[r.Alert] = true
			} else {
				rests[r.Alert] = true
			}
		}
	}
	for _, r := range readRules(t) {
		if r.Alert != "" && (!fires[r.Alert] || !rests[r.Alert]) {
			t.Errorf("%s: tested firing %v, not firing %v", r.Alert, fires[r.Alert], rests[r.Alert])
		}
	}
}

var section = regexp.MustCompile(`(?m)^### (\w+)\n\n\S`)

// Each alert says what it is and leads to its runbook; no runbook is of no alert.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]bool)
	for _, m := range section.FindAllStringSubmatch(string(text), -1) {
		sections[m[1]] = true
	}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		if !sections[r.Alert] {
			t.Errorf("docs/runbooks.md has nothing about %s", r.Alert)
		}
		delete(sections, r.Alert)
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !strings.HasSuffix(r.Annotations["runbook_url"], "docs/runbooks.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s: %v", r.Alert, r.Annotations)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
	}
	for name := range sections {
		t.Errorf("docs/runbooks.md is about %s, which is no alert", name)
	}
}
