package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Units of systemd are tested where systemd runs, in packaging/dev/system.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	p := runner.Plain{Dir: dir}
	mark := func(name string) []string { return []string{"touch", filepath.Join(dir, name)} }
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	if err := p.After(t.Context(), "job", time.Hour, mark("cancelled")); err != nil {
		t.Fatal(err)
	}
	if err := p.After(t.Context(), "job", time.Hour, mark("second")); err == nil {
		t.Error("two jobs wait under one name")
	}
	if err := p.Cancel(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if err := p.Cancel(t.Context(), "job"); err != nil {
		t.Errorf("cancelling what does not wait: %v", err)
	}
	if err := p.After(t.Context(), "job", time.Millisecond, mark("done")); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		if !exists("done") {
			return fmt.Errorf("the job has not run")
		}
		return nil
	})
	if exists("cancelled") {
		t.Error("a cancelled job has run")
	}
	if err := p.After(t.Context(), "job", time.Hour, mark("again")); err != nil {
		t.Errorf("the name is not free after the job: %v", err)
	}
	if err := p.Cancel(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
}
