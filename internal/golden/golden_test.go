package golden_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// failures counts how often a test failed.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }
func (f *failures) Fatalf(string, ...any) { f.n++ }

func TestEqual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "file")
	if err := flag.Set("update", "true"); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, path, "one\n")
	if err := flag.Set("update", "false"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "one\n" {
		t.Fatalf("written: %q, %v", text, err)
	}
	golden.Equal(t, path, []byte("one\n"))
	other := &failures{TB: t}
	golden.Equal(other, path, "two\n")
	if other.n != 1 {
		t.Error("another content passes")
	}
}
