package pbx

import (
	"errors"
	"fmt"
	"testing"
)

// What an attempt that failed half way has done counts, and nothing else.
func TestInLine(t *testing.T) {
	before := &Desired{Extensions: []Extension{{Number: "100", Secret: "old"}, {Number: "101", Secret: "old"}, {Number: "102", Secret: "old"}}}
	want := Desired{Extensions: []Extension{{Number: "100", Secret: "new"}, {Number: "101", Secret: "new"}, {Number: "103", Secret: "new"}}}
	failed := errors.New("it broke")
	show := func(d *Desired) (out string) {
		if d == nil {
			return "unknown"
		}
		for _, e := range d.Extensions {
			out += fmt.Sprintf("%s %s, ", e.Number, e.Secret.Reveal())
		}
		return out
	}
	for name, tt := range map[string]struct {
		before  *Desired
		changes []Change
		err     error
		want    string
	}{
		"done":               {before, nil, nil, "100 new, 101 new, 103 new, "},
		"nothing known":      {nil, []Change{{Modify, "extension 100", "secret", false}}, failed, "unknown"},
		"nothing done":       {before, nil, failed, "100 old, 101 old, 102 old, "},
		"one changed":        {before, []Change{{Modify, "extension 100", "secret", false}}, failed, "101 old, 102 old, 100 new, "},
		"one removed, added": {before, []Change{{Remove, "extension 102", "", false}, {Add, "extension 103", "", false}}, failed, "100 old, 101 old, 103 new, "},
		"a removal waits":    {before, []Change{{Remove, "extension 102", "", true}}, failed, "100 old, 101 old, 102 old, "},
	} {
		if got := show(inLine(tt.before, want, tt.changes, tt.err)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
