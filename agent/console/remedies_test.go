package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// Each button's form is one that its operation takes, and each kind of problem that has one exists.
func TestRemedies(t *testing.T) {
	kinds := make(map[problem.ID]bool)
	for _, k := range problem.Kinds() {
		kinds[k.ID] = true
	}
	admin := view{Me: control.Caller{Role: control.Admin}}
	for _, r := range remedies() {
		p := problem.Problem{ID: r.problem, Subject: "x"}
		if !kinds[r.problem] || callsByID()[r.operation.ID].ID == "" || r.operation.Order == "" {
			t.Errorf("%s, %s: no such problem, or no order that is written down", r.problem, r.operation.ID)
		}
		for _, b := range admin.Remedies(p) {
			form := url.Values{}
			for _, f := range b.Fields {
				form.Add(f.Name, f.Value)
			}
			if _, err := control.ParseForm(callsByID()[b.ID], form); err != nil {
				t.Errorf("%s, %s: %v", r.problem, b.ID, err)
			}
		}
	}
	for id := range places() {
		if !kinds[id] {
			t.Errorf("there is no problem %s", id)
		}
	}
	paused := problem.Problem{ID: problem.PBXPaused}
	if got := (view{Me: control.Caller{Role: control.Operator}}).Remedies(paused); len(got) != 1 || got[0].ID != control.ResumePBX.ID {
		t.Errorf("an operator: %+v", got)
	}
	if got := (view{Me: control.Caller{Role: control.Viewer}}).Remedies(paused); len(got) != 0 {
		t.Errorf("a viewer: %+v", got)
	}
}

// A language that was chosen is an account's, whatever its browser asks for.
func TestLanguage(t *testing.T) {
	s := newSite(t, "fine")
	b := s.as(control.Viewer)
	title := func() string {
		_, body, _ := b.get("/phones")
		_, rest, _ := strings.Cut(body, "<html lang=\"")
		return rest[:2]
	}
	if got := title(); got != "en" {
		t.Errorf("by default in %s", got)
	}
	if code, _, to := b.post("/language", url.Values{"language": {"fr"}, "_back": {"/phones"}}); code != http.StatusSeeOther || to != "/phones" {
		t.Errorf("%d %s", code, to)
	}
	if got := title(); got != "fr" {
		t.Errorf("after French was chosen in %s", got)
	}
	if code, _, _ := b.post("/language", url.Values{"language": {"../fr"}}); code != http.StatusBadRequest {
		t.Errorf("a language that there is not: %d", code)
	}
	if got := title(); got != "fr" {
		t.Errorf("then in %s", got)
	}
	if code, _, to := s.browser().post("/language", url.Values{"language": {"fr"}}); code != http.StatusSeeOther || to != "/login" {
		t.Errorf("a stranger: %d %s", code, to)
	}
}
