package versions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	cloud := []string{"latest", "32", "32.0.8", "32.0.9", "32.0.10", "32.1.0", "33.0.1", "33.0.12", "34.0.1", "33.0.13-rc1", "develop", "32.0.11-ls400"}
	meet := []string{"stable", "latest", "unstable-2026-01-01", "stable-9823", "stable-11146-1", "stable-11146-2", "stable-11146-10", "stable-11200", "stable-11200-1"}
	for _, tt := range []struct {
		name, current string
		tags          []string
		step          Step
		want          string // empty: none
	}{
		{"patch", "32.0.9", cloud, Patch, "32.0.10"},
		{"minor", "32.0.9", cloud, Minor, "32.1.0"},
		{"the next major only", "32.0.9", cloud, Major, "33.0.12"},
		{"from there on", "33.0.12", cloud, Major, "34.0.1"},
		{"no major in a minor step", "33.0.12", cloud, Minor, ""},
		{"newest already", "34.0.1", cloud, Major, ""},
		{"never back", "99.0.0", cloud, Major, ""},
		{"a gap of majors is not jumped", "31.0.0", []string{"33.0.1"}, Major, ""},
		{"a tag that means anything", "latest", cloud, Major, ""},
		{"revision of a release", "stable-11146-2", meet, Patch, "stable-11146-10"},
		{"release", "stable-11146-2", meet, Minor, "stable-11200-1"},
		{"kinds do not mix", "stable-11146-2", cloud, Major, ""},
		{"nothing there", "32.0.9", nil, Minor, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Choose(tt.current, tt.tags, tt.step)
			if ok != (tt.want != "") || ok && got != tt.want {
				t.Errorf("Choose() = %q, %t; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestCommon(t *testing.T) {
	if d := cmp.Diff([]string{"b", "c"}, Common([]string{"a", "b", "c"}, []string{"c", "b"}, []string{"b", "x", "c"})); d != "" {
		t.Error(d)
	}
	if got := Common(); got != nil {
		t.Errorf("Common() = %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"32.0.9", "stable-11146-2", "stable-1", "latest", "v1.2.3", "1.2.3-rc1", "999999999999.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		v, ok := Parse(tag)
		if ok && (v.Compare(v) != 0 || v.allows(v, Major)) {
			t.Errorf("%q is newer than itself", tag)
		}
	})
}
