package format_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/format"
)

// A state without a mark is of the first format, and gets one; one of a later program is left alone.
func TestMark(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "format.json")
	if err := format.Check(dir); err != nil {
		t.Errorf("without a mark: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a check writes")
	}
	for _, version := range []string{"1.0", "1.1"} {
		if err := format.Mark(dir, version); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != `{"format":1,"version":"1.0"}`+"\n" {
			t.Errorf("the mark of %s: %s, %v", version, data, err)
		}
	}
	const later = `{"format": 2, "version": "2.0"}`
	if err := os.WriteFile(path, []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{format.Check(dir), format.Mark(dir, "1.1")} {
		var l *format.LaterError
		if !errors.As(err, &l) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "version 2.0") || !strings.Contains(err.Error(), "backup restore") {
			t.Errorf("of a later program: %v", err)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != later {
		t.Errorf("it was changed: %s", data)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := format.Mark(dir, "1.1"); err == nil {
		t.Error("a damaged mark is none")
	}
}
