package pbx

import (
	"strings"
	"testing"
	"time"
)

func shown(d *Desired) string {
	if d == nil {
		return "unknown"
	}
	var out []string
	for _, e := range d.Extensions {
		out = append(out, e.Number+" "+e.Secret.Reveal())
	}
	return strings.Join(out, ", ")
}

func runs(secret Secret) Account { return Account{Secrets: []Secret{secret}, Registers: true} }

// What counts is what Asterisk runs with, not what was ordered.
func TestInLine(t *testing.T) {
	before := &Desired{Extensions: []Extension{{Number: "100", Secret: "old"}, {Number: "101", Secret: "old"}, {Number: "102", Secret: "old"}}}
	want := Desired{
		Extensions: []Extension{{Number: "100", Secret: "new"}, {Number: "101", Secret: "new"}, {Number: "103", Secret: "new"}},
		Gateway:    &Gateway{Extension: Extension{Number: "1000", Secret: "gate"}},
	}
	for name, tt := range map[string]struct {
		before   *Desired
		running  map[string]Account
		want     string
		unserved string
	}{
		"all is well": {before, map[string]Account{"100": runs("new"), "101": runs("new"), "103": runs("new"), "1000": runs("gate")},
			"100 new, 101 new, 103 new, 1000 gate", ""},
		"the reload failed": {before, map[string]Account{"100": runs("old"), "101": runs("old"), "102": runs("old")},
			"100 old, 101 old, 102 old", "100 101 103 1000"},
		"half of it": {nil, map[string]Account{"100": runs("new"), "101": runs("old")}, "100 new, 101 old", "101 103 1000"},
		"nothing":    {before, nil, "", "100 101 103 1000"},
		"no AOR":     {nil, map[string]Account{"100": {Secrets: []Secret{"new"}}}, "100 new", "100 101 103 1000"},
		"no auth":    {nil, map[string]Account{"100": {Registers: true}}, "", "100 101 103 1000"},
		"somebody else's": {nil, map[string]Account{"100": runs("new"), "101": runs("new"), "103": runs("new"), "1000": runs("gate"), "hand": runs("x")},
			"100 new, 101 new, 103 new, 1000 gate", ""},
	} {
		if got := shown(accountsInForce(tt.before, want, tt.running)); got != tt.want {
			t.Errorf("%s: in line %q, want %q", name, got, tt.want)
		}
		var out []string
		for _, u := range unserved(want, tt.running) {
			out = append(out, u.Number)
		}
		if got := strings.Join(out, " "); got != tt.unserved {
			t.Errorf("%s: not in service %q, want %q", name, got, tt.unserved)
		}
	}
}

func TestUnservedError(t *testing.T) {
	list := []Unserved{{"100", "the exchange has another secret"}, {"101", "the exchange does not have it"}}
	if got := unservedError(list).Error(); got != "pbx: not in service: extension 100: the exchange has another secret; extension 101: the exchange does not have it" {
		t.Error(got)
	}
	for range 300 {
		list = append(list, list[0])
	}
	if got := unservedError(list).Error(); !strings.HasSuffix(got, "; and 297 more") {
		t.Error(got)
	}
}

// A phone fetches no file during a call: its secret is not changed then, but not put off for ever.
func TestSecretWaitsForTheCall(t *testing.T) {
	s := &Service{want: Desired{Extensions: []Extension{{Number: "100", Secret: "new"}, {Number: "101", Secret: "new"}, {Number: "102", Secret: "new"}}}}
	s.state.Outcome.ReadBack = &Desired{Extensions: []Extension{{Number: "100", Secret: "old"}, {Number: "101", Secret: "old"}, {Number: "102", Secret: "new"}}}
	s.state.Lines = map[string]Line{"100": {InCall: true}, "102": {InCall: true}}
	for _, step := range []struct {
		at     time.Duration
		inCall bool
		want   string
		waits  string
	}{
		{0, true, "100 old, 101 new, 102 new", "100"},
		{9 * time.Minute, true, "100 old, 101 new, 102 new", "100"},
		{10 * time.Minute, true, "100 new, 101 new, 102 new", ""},
		{11 * time.Minute, true, "100 new, 101 new, 102 new", ""},
		{12 * time.Minute, false, "100 new, 101 new, 102 new", ""},
		{13 * time.Minute, true, "100 old, 101 new, 102 new", "100"},
	} {
		s.state.Lines["100"] = Line{InCall: step.inCall}
		want, waiting := s.postpone(start.Add(step.at))
		if got := shown(&want); got != step.want || strings.Join(waiting, " ") != step.waits {
			t.Errorf("after %v: %s, %v waits; want %s, %s", step.at, got, waiting, step.want, step.waits)
		}
	}
	if shown(&s.want) != "100 new, 101 new, 102 new" {
		t.Error("what is wanted was changed")
	}
}

func TestChangedSecrets(t *testing.T) {
	before := map[string]string{"100": "old", "101": "old", "102": "old", "103": "old"}
	after := map[string]string{"100": "new", "101": "old", "103": "new", "104": "new"}
	if got := strings.Join(changedSecrets([]string{"103", "099"}, before, after), " "); got != "099 100 103" {
		t.Error(got)
	}
	if got := changedSecrets(nil, nil, after); len(got) > 0 {
		t.Errorf("%v has changed without having been known", got)
	}
}
