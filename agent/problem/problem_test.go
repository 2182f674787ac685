package problem_test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// Every kind of problem is described once, has a runbook, and no runbook is of a kind
// that is gone.
func TestEveryKindHasARunbook(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[problem.ID]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| .{10,} \\|$").FindAllSubmatch(page, -1) {
		rows[problem.ID(m[1])] = true
	}
	for _, k := range problem.Kinds() {
		if !rows[k.ID] || k.Summary == "" {
			t.Errorf("%s has no runbook, or no summary", k.ID)
		}
		delete(rows, k.ID)
	}
	for id := range rows {
		t.Errorf("the runbook of %s is of no kind of problem", id)
	}
}

// What every part reports is of a kind that is listed.
func TestEveryConstantIsListed(t *testing.T) {
	source, err := os.ReadFile("registry.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[problem.ID]int)
	for _, k := range problem.Kinds() {
		listed[k.ID]++
	}
	found := regexp.MustCompile(`ID\s+= "([^"]+)"`).FindAllSubmatch(source, -1)
	for _, m := range found {
		if n := listed[problem.ID(m[1])]; n != 1 {
			t.Errorf("%s is listed %d times", m[1], n)
		}
	}
	if len(found) != len(listed) {
		t.Errorf("%d constants, %d kinds", len(found), len(listed))
	}
}

func TestTracker(t *testing.T) {
	var tr problem.Tracker
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one := []problem.Problem{{ID: problem.PhoneAlert, Part: "phones", Subject: "a"}, {ID: problem.PhoneAlert, Part: "phones", Subject: "b"}}
	tr.Update(one[:1], began)
	tr.Update(one, began.Add(time.Minute))
	if !one[0].Since.Equal(began) || !one[1].Since.Equal(began.Add(time.Minute)) {
		t.Errorf("%+v", one)
	}
	tr.Update(nil, began.Add(2*time.Minute))
	tr.Update(one[:1], began.Add(3*time.Minute))
	if !one[0].Since.Equal(began.Add(3 * time.Minute)) {
		t.Errorf("it came back: %+v", one[0])
	}
}
