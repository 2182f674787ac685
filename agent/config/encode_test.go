package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/internal/golden"
)

func TestMarshalIsCleanAndParsesBack(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(file, data)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.MarshalWith("# Written by a test.")
			if err != nil {
				t.Fatal(err)
			}
			golden.Equal(t, file+".golden", out)
			back, err := Parse("written", out)
			if err != nil {
				t.Fatal(err)
			}
			if changes := Diff(c, back); len(changes) > 0 {
				t.Errorf("it came back different: %v", changes)
			}
			again, err := back.MarshalWith("# Written by a test.")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(out), string(again)); diff != "" {
				t.Errorf("written again it differs (-first +second)\n%s", diff)
			}
		})
	}
}
