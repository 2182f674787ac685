package house

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Package agent is a loop, history, apply and rollback, and the fold of reports: what grows there belongs into a part.
func TestTheAgentStaysSmall(t *testing.T) {
	const maxLines, maxMethods = 1500, 40
	files, err := filepath.Glob(filepath.Join(root, "agent", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	lines, methods := 0, 0
	method := regexp.MustCompile(`(?m)^func \([a-z]+ \*Agent\) `)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(source, []byte("\n"))
		methods += len(method.FindAll(source, -1))
	}
	if lines >= maxLines || methods >= maxMethods {
		t.Errorf("package agent has %d lines and %d methods on Agent; fewer than %d and %d are meant", lines, methods, maxLines, maxMethods)
	}
}
