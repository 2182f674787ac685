package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Very many errors are told as some and a number, within a time that does not
// depend on how many there are for each.
func TestManyErrors(t *testing.T) {
	var b strings.Builder
	b.WriteString(tenLines)
	for i := range 20_000 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	_, _, err := Options{}.Parse("x", []byte(b.String()))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	if len(all) != maxShown+1 || all.Count() != 20_000 {
		t.Errorf("%d errors are told of %d, want %d of 20000", len(all), all.Count(), maxShown+1)
	}
	if last := all[len(all)-1].String(); !strings.Contains(last, "19900 more") {
		t.Errorf("the last one: %s", last)
	}
	if n := (Errors{{Problem: "one"}}).Count(); n != 1 {
		t.Errorf("one error counts as %d", n)
	}
}

// A file without end is read to the limit, and refused.
func TestEndlessFile(t *testing.T) {
	if data, err := ReadFile("/dev/zero"); err != nil || len(data) != maxSize+1 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than 1 MB") {
		t.Errorf("%v", err)
	}
	if text := Excerpt(make([]byte, maxSize), Diagnostic{Line: 1, Column: 1}); text != "" {
		t.Errorf("%d bytes are shown of a line without end", len(text))
	}
	comment := []byte(tenLines + strings.Repeat("#\n", maxSize/2))
	if _, _, err := (Options{Now: time.Now()}).Parse("x", comment); err == nil {
		t.Error("a file above the limit is taken")
	}
	if _, _, err := (Options{}).Parse("x", comment); err != nil {
		t.Errorf("what an earlier version may have accepted is refused: %v", err)
	}
}

// The file is the text that it was read as, and no other one, of whatever length.
func TestIsFile(t *testing.T) {
	long := strings.Repeat("# 16 characters\n", 4096)
	for name, c := range map[string]struct {
		file, text string
		want       bool
	}{
		"the same": {long, long, true}, "shorter": {long[1:], long, false}, "longer": {long + "#", long, false},
		"another end": {long[1:] + "x", long[1:] + "y", false}, "nothing": {"", "", true}, "nothing in it": {"", "x", false}, "nothing expected": {"x", "", false},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := IsFile(path, []byte(c.text)); got != c.want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	if same, err := IsFile(filepath.Join(t.TempDir(), "none"), nil); same || err == nil {
		t.Errorf("a file that is not there: %t, %v", same, err)
	}
}

// What ends a line for YAML alone is told where editors show it, and no other
// line's number is wrong by it.
func TestOddLineBreaks(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string // line and column; empty: it is no error
	}{
		"carriage return alone": {"a: 1\rb: 2\nnope: 1\n", ":1:5:"},
		"in a comment":          {"# one\n# two\rthree\n", ":2:6:"},
		"of Unicode":            {"# one\u2028two\n", ":1:6:"},
		"next line":             {"# one\u0085two\n", ":1:6:"},
		"of DOS":                {"# one\r\n# two\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(file, []byte(c.text+tenLines), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := Options{Now: time.Now()}.Load(file)
			if c.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var all Errors
			if !errors.As(err, &all) || len(all) != 1 || !strings.Contains(all[0].String(), c.want+" a line is ended") {
				t.Errorf("got %v, want an error at %s", err, c.want)
			}
		})
	}
}
