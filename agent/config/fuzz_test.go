package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever a file holds, the loader says what is wrong with it, in places that the
// file has, or gives a configuration that is written and read back as the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds: %v", err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || c != nil {
				t.Fatalf("error of another kind: %v", err)
			}
			for _, d := range all {
				if lines := strings.Count(string(data), "\n") + 1; d.Line < 1 || d.Line > lines+1 || d.Problem == "" {
					t.Fatalf("%+v in a file of %d lines", d, lines)
				}
			}
			return
		}
		written, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("g", written)
		if err != nil {
			t.Fatalf("what was written does not load: %v\n%s", err, written)
		}
		if changes := Diff(c, again); len(changes) > 0 {
			t.Fatalf("read back differently: %v\n%s", changes, written)
		}
	})
}
