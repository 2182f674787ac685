package alerts

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// place is a target that remembers what it was told.
type place struct {
	name     string
	messages []Message
	fail     error
	tried    []Message
}

func (p *place) Name() string { return p.name }

func (p *place) Send(_ context.Context, m Message) error {
	p.tried = append(p.tried, m)
	if p.fail != nil {
		return p.fail
	}
	p.messages = append(p.messages, m)
	return nil
}

// site is an appliance with its problems, and the time there.
type site struct {
	t        *testing.T
	now      time.Time
	problems []problem.Problem
	unknown  bool
	path     string
	places   []*place
	config   Config
	s        *Service
}

func newSite(t *testing.T, places ...*place) *site {
	s := &site{t: t, now: noon, path: filepath.Join(t.TempDir(), "alerts.json"), places: places, config: Config{Every: 5 * time.Minute, Site: "sae303", Host: "appliance"}}
	for _, p := range places {
		s.config.Targets = append(s.config.Targets, p)
	}
	s.restart()
	return s
}

func (s *site) restart() {
	s.s = New(s.config, s.path, func() ([]problem.Problem, bool) { return s.problems, !s.unknown }, slog.New(slog.DiscardHandler))
}

// pass lets time go by.
func (s *site) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(checkEvery) {
		s.s.step(s.t.Context(), s.now)
	}
}

// told is what a target was sent, a line for each message: + for new ones, - for ended ones.
func (p *place) told() string {
	var lines []string
	for _, m := range p.messages {
		var words []string
		for _, n := range m.New {
			words = append(words, "+"+n.Subject)
		}
		for _, e := range m.Ended {
			words = append(words, "-"+e.Subject)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "; ")
}

func (s *site) want(p *place, want string) {
	s.t.Helper()
	if got := p.told(); got != want {
		s.t.Errorf("%s was told %q, want %q", p.name, got, want)
	}
}

func bad(subject string) problem.Problem {
	return problem.Problem{ID: problem.LinkTrouble, Severity: problem.Error, Part: "network", Subject: subject, What: subject + ": no link", Fix: "look at the cable"}
}

func warning(subject string) problem.Problem {
	p := bad(subject)
	p.Severity = problem.Warning
	return p
}

func list(p ...problem.Problem) []problem.Problem { return p }

func TestNewAndEnded(t *testing.T) {
	p := &place{name: "mail"}
	s := newSite(t, p)
	s.pass(10 * time.Minute)
	s.want(p, "")
	s.problems = list(bad("a"))
	s.pass(errorHold - checkEvery)
	s.want(p, "")
	s.pass(3 * checkEvery)
	s.want(p, "+a")
	if m := p.messages[0]; m.Lasting != 1 || !m.New[0].Since.Equal(noon.Add(10*time.Minute)) {
		t.Errorf("%+v", m)
	}
	s.pass(time.Hour)
	s.want(p, "+a")
	s.problems = nil
	s.pass(time.Hour)
	s.want(p, "+a; -a")
	if m := p.messages[1]; m.Lasting != 0 {
		t.Errorf("%+v", m)
	}
	s.problems = list(bad("a")) // it is told each time that it comes
	s.pass(time.Hour)
	s.want(p, "+a; -a; +a")
	if p.messages[0].ID == p.messages[2].ID {
		t.Error("two messages have one name: the second would be taken for the first one")
	}
}

// What comes and goes is not told; what comes together is told together.
func TestGroupedAndCalm(t *testing.T) {
	p := &place{name: "mail"}
	s := newSite(t, p)
	for range 20 { // it flaps
		s.problems = list(bad("flap"))
		s.pass(30 * time.Second)
		s.problems = nil
		s.pass(endHold + time.Minute)
	}
	s.want(p, "")
	s.problems = list(bad("a"))
	s.pass(20 * time.Second)
	s.problems = list(bad("a"), bad("b"), warning("w"))
	s.pass(time.Minute)
	s.want(p, "+a +b")
	s.pass(time.Hour)
	s.want(p, "+a +b; +w")
	for i := range 5 { // a storm: one message in Every
		s.problems = append(s.problems, bad(string(rune('p'+i))))
		s.pass(time.Minute)
	}
	s.pass(time.Hour)
	if n := len(p.messages); n > 2+2 {
		t.Errorf("%d messages: %s", n, p.told())
	}
	s.problems = nil
	s.pass(30 * time.Second) // gone for a moment, as while a part starts again
	s.problems = list(bad("a"), bad("b"), warning("w"), bad("p"), bad("q"), bad("r"), bad("s"), bad("t"))
	n := len(p.messages)
	s.pass(time.Hour)
	if len(p.messages) != n {
		t.Errorf("told of a moment: %s", p.told())
	}
}

func TestErrorsOnly(t *testing.T) {
	p := &place{name: "mail"}
	s := newSite(t, p)
	s.config.ErrorsOnly = true
	s.restart()
	s.problems = list(warning("w"), bad("a"))
	s.pass(time.Hour)
	s.want(p, "+a")
}

// A restart tells nothing again, and takes nothing for ended that is not known yet.
func TestRestart(t *testing.T) {
	p := &place{name: "mail"}
	s := newSite(t, p)
	s.problems = list(bad("a"), bad("b"))
	s.pass(10 * time.Minute)
	s.unknown = true
	s.restart()
	s.pass(10 * time.Minute)
	s.unknown, s.problems = false, nil
	s.pass(time.Minute)
	s.problems = list(bad("a"))
	s.pass(time.Hour)
	s.want(p, "+a +b; -b")
	if fi, err := os.Stat(s.path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := os.WriteFile(s.path, []byte(`{"targets": {"mail": null, `), 0o600); err != nil {
		t.Fatal(err)
	}
	s.restart() // a broken file costs a message, not the service
	s.pass(time.Hour)
	s.want(p, "+a +b; -b; +a")
}

// A place that does not answer is asked again, with longer and longer pauses, under the same name as long as there
// is the same to tell, also after a restart. Others get theirs.
func TestRetry(t *testing.T) {
	down, up := &place{name: "mail", fail: errors.New("connection refused")}, &place{name: "webhook"}
	s := newSite(t, down, up)
	s.problems = list(bad("a"))
	s.pass(2 * time.Minute)
	s.restart()
	s.pass(4 * time.Minute)
	s.want(up, "+a")
	if n := len(down.tried); n < 3 || n > 5 {
		t.Errorf("%d tries", n)
	}
	for _, m := range down.tried {
		if m.ID != down.tried[0].ID {
			t.Errorf("the same message has two names")
		}
	}
	if f := s.s.Failures(); len(f) != 1 || f[0].Target != "mail" || f[0].Err == nil {
		t.Errorf("%+v", f)
	}
	s.problems = list(bad("b"), problem.Problem{ID: problem.AlertsNotDelivered, Severity: problem.Warning, Part: "alerts", Subject: "mail"})
	s.pass(6 * time.Hour)
	if n := len(down.tried); n > 25 {
		t.Errorf("%d tries in six hours", n)
	}
	down.fail = nil
	s.pass(time.Hour)
	s.want(down, "+b") // neither a, which is gone, nor that it was not told
	s.want(up, "+a; +b; +mail -a")
	if f := s.s.Failures(); len(f) != 0 {
		t.Errorf("%+v", f)
	}
}

// A place that is not in the configuration any more is forgotten.
func TestForgotten(t *testing.T) {
	p, gone := &place{name: "mail"}, &place{name: "webhook"}
	s := newSite(t, p, gone)
	s.problems = list(bad("a"))
	s.pass(10 * time.Minute)
	s.config.Targets = s.config.Targets[:1]
	s.restart()
	s.problems = nil
	s.pass(10 * time.Minute)
	if data, err := os.ReadFile(s.path); err != nil || strings.Contains(string(data), "webhook") {
		t.Errorf("%s, %v", data, err)
	}
	s.want(p, "+a; -a")
}
