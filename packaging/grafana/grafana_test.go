package grafana

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// page is what is checked of a dashboard's JSON.
type page struct {
	UID, Title, Description string
	Panels                  []pagePanel
	Templating              struct {
		List []struct{ Name, Type, Query any }
	}
	Links []map[string]any
}

type pagePanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               map[string]string
	Targets                  []struct {
		RefID, Expr string
		Datasource  map[string]string
	}
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Links []map[string]any
}

// The JSON files are made from the lists in this package; with -update they are
// written anew.
func TestDashboardsAreCurrent(t *testing.T) {
	var names []string
	for _, d := range All() {
		got, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("dashboards", d.UID+".json")
		names = append(names, path)
		golden.Equal(t, path, got)
	}
	slices.Sort(names)
	if files, err := filepath.Glob("dashboards/*"); err != nil || !slices.Equal(files, names) {
		t.Errorf("files %q, dashboards %q, %v", files, names, err)
	}
}

func readPages(t *testing.T) []page {
	t.Helper()
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	var out []page
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, p)
	}
	return out
}

// Units and panels of Grafana's own that are in use here.
var (
	units = []string{"none", "s", "bytes", "Bps", "pps", "reqps", "percentunit"}
	kinds = []string{"stat", "timeseries", "table", "bargauge", "state-timeline"}
)

// Every panel says what it is, in which unit, and takes its data from the source
// that was chosen.
func TestDashboardsAreWhole(t *testing.T) {
	uids := make(map[string]bool)
	for _, p := range readPages(t) {
		if p.UID == "" || uids[p.UID] || p.Title == "" || p.Description == "" || len(p.Links) == 0 {
			t.Errorf("%s: no title, description or link, or its uid %q is taken", p.Title, p.UID)
		}
		uids[p.UID] = true
		var variables []any
		for _, v := range p.Templating.List {
			variables = append(variables, v.Name)
		}
		if !slices.Equal(variables, []any{"datasource", "instance"}) {
			t.Errorf("%s: variables %v", p.Title, variables)
		}
		ids := make(map[int]bool)
		taken := make(map[[2]int]string)
		for _, q := range p.Panels {
			name := p.Title + ": " + q.Title
			if q.ID == 0 || ids[q.ID] {
				t.Errorf("%s: id %d is taken", name, q.ID)
			}
			ids[q.ID] = true
			checkPlace(t, name, q, taken)
			if q.Type == "row" {
				continue
			}
			if q.Title == "" || len(q.Description) < 4 || q.FieldConfig.Defaults.Unit == "" || len(q.Links) == 0 || len(q.Targets) == 0 {
				t.Errorf("%s: title, description, unit, links or queries are missing", name)
			}
			if !slices.Contains(units, q.FieldConfig.Defaults.Unit) || !slices.Contains(kinds, q.Type) {
				t.Errorf("%s: Grafana knows no unit %q, or no panel %q", name, q.FieldConfig.Defaults.Unit, q.Type)
			}
			for _, target := range q.Targets {
				if target.Datasource["uid"] != "${datasource}" || q.Datasource["uid"] != "${datasource}" {
					t.Errorf("%s: its data source is not the chosen one", name)
				}
				if !strings.Contains(target.Expr, `instance=~"$instance"`) {
					t.Errorf("%s: %s is not of the chosen appliance", name, target.Expr)
				}
			}
		}
	}
}

func checkPlace(t *testing.T, name string, q pagePanel, taken map[[2]int]string) {
	t.Helper()
	g := q.GridPos
	if g.W < 1 || g.H < 1 || g.X+g.W > 24 {
		t.Errorf("%s: its place is %+v", name, g)
	}
	for x := g.X; x < g.X+g.W; x++ {
		for y := g.Y; y < g.Y+g.H; y++ {
			if other := taken[[2]int{x, y}]; other != "" {
				t.Fatalf("%s covers %s", name, other)
			}
			taken[[2]int{x, y}] = name
		}
	}
}

var (
	metricName = regexp.MustCompile(`\b(?:instance[a-z_]*:)?sae_[a-z0-9_]+(?::[a-z0-9_]+)?\b`)
	documented = regexp.MustCompile("(?m)^\\| `(sae_[a-z0-9_]+)`")
)

// Dashboards and rules use only what is exported, or recorded by a rule.
func TestMetricsExist(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	exported := make(map[string]bool)
	for _, m := range documented.FindAllStringSubmatch(string(doc), -1) {
		exported[m[1]] = true
	}
	text, err := os.ReadFile("../prometheus/rules/sae-agent.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]string) // by whom
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			exported[r.Record] = true
			for _, m := range metricName.FindAllString(r.Expr, -1) {
				used[m] = "rule " + r.Record + r.Alert
			}
		}
	}
	for _, p := range readPages(t) {
		for _, q := range p.Panels {
			for _, target := range q.Targets {
				for _, m := range metricName.FindAllString(target.Expr, -1) {
					used[m] = "panel " + p.Title + ": " + q.Title
				}
			}
		}
	}
	for m, by := range used {
		base := m
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if s := strings.TrimSuffix(m, suffix); exported[s] {
				base = s
			}
		}
		if !exported[base] {
			t.Errorf("%s, used by %s, is not exported (docs/metrics.md)", m, by)
		}
	}
}

// Provisioning files name the folder that the package fills.
func TestProvisioning(t *testing.T) {
	data, err := os.ReadFile("provisioning/dashboards/sae-agent.yml")
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Providers []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	if err := yaml.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	install, err := os.ReadFile("../../debian/sae-agent.install")
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(p.Providers[0].Options.Path, "/")
	if want := "packaging/grafana/dashboards/*.json " + path + "\n"; !strings.Contains(string(install), want) {
		t.Errorf("debian/sae-agent.install has no line %q", want)
	}
	if data, err = os.ReadFile("provisioning/datasources/sae-agent.yml"); err != nil || yaml.Unmarshal(data, &struct{}{}) != nil {
		t.Errorf("data source: %v", err)
	}
}
