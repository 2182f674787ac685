package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFiguresIn(t *testing.T) {
	got := figuresIn("=== RUN   TestSiege\n    siege_test.go:171: figure: svcrack | banned after 1 s, by sip-login | really\n    x: figure: broken\n--- PASS: TestSiege\n")
	if want := []figure{{"svcrack", "banned after 1 s, by sip-login | really"}}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Each test that is run logs figures, and is where it is looked for.
func TestMeasuredTestsExist(t *testing.T) {
	for _, m := range measured {
		files, err := filepath.Glob(filepath.Join("../../../..", m.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(data)
		}
		for _, want := range []string{"func " + m.test + "(", `Logf("` + mark} {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s has no %q", m.pkg, want)
			}
		}
	}
}
