// Package grafana writes the dashboards that the product ships: each is a short list
// of panels here, and becomes the JSON that Grafana reads (schema version 39).
//
// In expressions, $i stands for the choice of instance and $r for the rate interval.
package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Needs is a part of the appliance without which a panel is empty.
type Needs string

// Parts that may be off.
const (
	Always   Needs = ""
	PBX      Needs = "pbx"
	Firewall Needs = "firewall"
	QoS      Needs = "qos"
	Stacks   Needs = "stacks"
	Verify   Needs = "verify"
	Units    Needs = "units"
	Backup   Needs = "backup"
	Fail2ban Needs = "fail2ban"
	Trouble  Needs = "trouble" // something must be wrong
)

// says is what a panel's description ends with, for people and for the tests.
var says = map[Needs]string{
	PBX: "Empty while the exchange is off (pbx).", Firewall: "Empty while the firewall is off (firewall).",
	QoS: "Empty while nothing is shaped (qos).", Stacks: "Empty while no stack is on (stacks).",
	Verify: "Empty until sae-agent verify has run (verify).", Units: "Empty where systemd does not run (units).",
	Backup:   "Empty until there is a backup (backup).",
	Fail2ban: "Empty where fail2ban is not installed (fail2ban).",
	Trouble:  "Empty when all is well (trouble).",
}

// Dashboard is one page of panels.
type Dashboard struct {
	UID, Title, About string
	Panels            []Panel
}

// Panel is one picture. Panels fill rows of 24 columns from left to right.
type Panel struct {
	Title, About  string
	Kind          string // stat, timeseries, table, bargauge, state-timeline; row begins a new section
	Unit          string // of Grafana's list, such as s, bytes, percentunit, short
	Width, Height int
	Needs         Needs
	Queries       []Query
	// Steps are thresholds: from each value on, its colour.
	Steps []Step
	// Words replace values.
	Words map[string]string
	// Hide are columns of a table.
	Hide []string
	// Signed says that values below zero mean something.
	Signed bool
}

// Query is one expression, with the legend of its series.
type Query struct{ Expr, Legend string }

// Step is a threshold.
type Step struct {
	From   float64
	Colour string
}

// Steps that many panels share.
var (
	goodIsOne  = []Step{{0, "red"}, {1, "green"}}
	goodIsZero = []Step{{0, "green"}, {1, "red"}}
	oddIsOne   = []Step{{0, "green"}, {1, "orange"}}
)

// appliedRecently has the time of each apply that was seen in the last step, in milliseconds.
const appliedRecently = "(sae_config_applied_timestamp_seconds{$i} * 1000) and (time() - sae_config_applied_timestamp_seconds{$i} <= 120)"

type object = map[string]any

// JSON returns the dashboard as Grafana reads it.
func (d Dashboard) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(object{
		"uid": d.UID, "title": d.Title, "description": d.About, "tags": []string{"sae-agent"},
		"schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "30s",
		"time":        object{"from": "now-6h", "to": "now"},
		"annotations": object{"list": []any{appliedAnnotation}},
		"links":       []any{dashboardLinks},
		"templating":  object{"list": []any{datasourceVariable, instanceVariable}},
		"panels":      layOut(d.Panels),
	})
	return b.Bytes(), err
}

var (
	source = object{"type": "prometheus", "uid": "${datasource}"}

	datasourceVariable = object{
		"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
		"description": "The Prometheus that scrapes the appliances.", "hide": 0, "includeAll": false, "multi": false,
	}
	instanceVariable = object{
		"name": "instance", "label": "Appliance", "type": "query", "datasource": source, "description": "One appliance, some or all.",
		"query":      object{"query": "label_values(sae_agent_info, instance)", "refId": "instance"},
		"definition": "label_values(sae_agent_info, instance)", "refresh": 2, "sort": 1, "hide": 0, "includeAll": true, "multi": true,
		"current": object{"selected": true, "text": "All", "value": "$__all"}, "allValue": ".+",
	}
	dashboardLinks = object{
		"type": "dashboards", "title": "sae-agent", "tags": []string{"sae-agent"}, "asDropdown": true, "includeVars": true, "keepTime": true,
		"tooltip": "The other dashboards of sae-agent", "icon": "external link", "targetBlank": false, "url": "",
	}
	// An apply shows in the metric at the next scrape, at most a minute later, and Grafana
	// looks once a minute: a sample of the last two minutes is one that no earlier step
	// has missed. It is drawn at its own time, so that seeing it twice does no harm.
	appliedAnnotation = object{
		"name": "Configuration applied", "enable": true, "iconColor": "blue", "datasource": source,
		"expr": query(appliedRecently), "step": "60s", "useValueForTime": true, "titleFormat": "Configuration applied",
	}
	runbooks = object{
		"title": "Runbooks", "url": "https://github.com/sae-agent/sae-agent/blob/main/docs/runbooks.md", "targetBlank": true,
		"type": "link", "icon": "external link", "tooltip": "What to do about it", "tags": []string{}, "asDropdown": false, "includeVars": false, "keepTime": false,
	}
)

// layOut places panels and gives them their numbers.
func layOut(panels []Panel) []any {
	var out []any
	x, y, tallest := 0, 0, 0
	for i, p := range panels {
		if p.Kind == "row" {
			p.Width, p.Height = 24, 1
		}
		if x+p.Width > 24 {
			x, y, tallest = 0, y+tallest, 0
		}
		o := p.object()
		o["id"], o["gridPos"] = i+1, object{"x": x, "y": y, "w": p.Width, "h": p.Height}
		out = append(out, o)
		x, tallest = x+p.Width, max(tallest, p.Height)
	}
	return out
}

func (p Panel) object() object {
	if p.Kind == "row" {
		return object{"type": "row", "title": p.Title, "collapsed": false, "panels": []any{}}
	}
	var targets []any
	for i, q := range p.Queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": source, "expr": query(q.Expr), "legendFormat": q.Legend,
			"instant": p.Kind != "timeseries" && p.Kind != "state-timeline", "range": p.Kind == "timeseries" || p.Kind == "state-timeline",
			"format": p.format(), "editorMode": "code",
		})
	}
	o := object{
		"type": p.Kind, "title": p.Title, "description": strings.TrimSpace(p.About + " " + says[p.Needs]), "datasource": source, "targets": targets,
		"fieldConfig": object{"defaults": p.defaults(), "overrides": []any{}}, "options": p.options(), "links": []any{runbooks},
	}
	if p.Kind == "table" {
		hide := object{"Time": true, "__name__": true, "job": true, "Value": len(p.Hide) > 0 && p.Hide[0] == "Value"}
		for _, h := range p.Hide {
			hide[h] = true
		}
		o["transformations"] = []any{object{"id": "organize", "options": object{"excludeByName": hide, "indexByName": object{}, "renameByName": object{}}}}
	}
	return o
}

func (p Panel) format() string {
	if p.Kind == "table" {
		return "table"
	}
	return "time_series"
}

func (p Panel) defaults() object {
	steps := []any{object{"color": "green", "value": nil}}
	if len(p.Steps) > 0 {
		steps = nil
	}
	for i, s := range p.Steps {
		step := object{"color": s.Colour, "value": s.From}
		if i == 0 {
			step["value"] = nil // Grafana's word for the lowest
		}
		steps = append(steps, step)
	}
	d := object{"unit": p.Unit, "thresholds": object{"mode": "absolute", "steps": steps}, "color": object{"mode": "thresholds"}, "mappings": []any{}}
	if p.Kind == "timeseries" {
		d["color"] = object{"mode": "palette-classic"}
		d["custom"] = object{"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": false}
		if !p.Signed {
			d["min"] = 0
		}
	}
	if len(p.Words) > 0 {
		words := object{}
		for value, word := range p.Words {
			words[value] = object{"text": word}
		}
		d["mappings"] = []any{object{"type": "value", "options": words}}
	}
	return d
}

func (p Panel) options() object {
	switch p.Kind {
	case "stat":
		mode := "value"
		if len(p.Queries) > 0 && p.Queries[0].Legend != "" {
			mode = "value_and_name"
		}
		return object{
			"colorMode": "background", "graphMode": "none", "textMode": mode, "reduceOptions": lastValue, "orientation": "auto", "justifyMode": "auto",
			"wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
		}
	case "bargauge":
		return object{
			"orientation": "horizontal", "displayMode": "basic", "reduceOptions": lastValue, "valueMode": "color", "namePlacement": "auto",
			"showUnfilled": true, "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300, "legend": legend,
		}
	case "timeseries":
		return object{"legend": legend, "tooltip": object{"mode": "multi", "sort": "desc"}}
	case "state-timeline":
		return object{"mergeValues": true, "showValue": "never", "rowHeight": 0.8, "legend": legend, "tooltip": object{"mode": "single", "sort": "none"}}
	}
	return object{"showHeader": true, "cellHeight": "sm", "frameIndex": 0}
}

// legend names the series; no value of theirs stands beside them.
var legend = object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}}

var lastValue = object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}

// query writes an expression as Grafana has it.
func query(expr string) string {
	return strings.NewReplacer("$i", `instance=~"$instance"`, "$r", "$__rate_interval").Replace(expr)
}

// one is a panel's only query.
func one(expr, legend string, args ...any) []Query {
	if len(args) > 0 {
		expr = fmt.Sprintf(expr, args...)
	}
	return []Query{{expr, legend}}
}
