package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// known plays the list of models.
func known(model string) (string, bool) {
	if model == "T42U" || model == "T54W" {
		return "", true
	}
	if strings.HasPrefix(model, "T") {
		return "T54W", false
	}
	return "", false
}

// TestBadFiles compares what is said about each file of testdata/bad with its golden text.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	clock := func(zone *time.Location, _ time.Time) time.Duration {
		return map[string]time.Duration{"Pacific/Chatham": 15 * time.Minute}[zone.String()]
	}
	opts := Options{LanguageKnown: func(tag string) bool { return tag != "sw" }, ClockError: clock, Now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), ModelKnown: known}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, warnings, err := opts.Parse(filepath.Base(file), data)
			var errs Errors
			if !errors.As(err, &errs) || c != nil {
				t.Fatalf("accepted: %v, %v", c, err)
			}
			var out strings.Builder
			for kind, list := range map[string][]Diagnostic{"error": errs} {
				write(&out, data, kind, list)
			}
			write(&out, data, "warning", warnings)
			golden.Equal(t, strings.TrimSuffix(file, ".yaml")+".txt", []byte(out.String()))
		})
	}
}

func write(out *strings.Builder, data []byte, kind string, list []Diagnostic) {
	for _, d := range list {
		fmt.Fprintf(out, "%s: %s\n%s", kind, d, Excerpt(data, d))
	}
}
