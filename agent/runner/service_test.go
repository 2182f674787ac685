package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// daemon goes into the background, as daemons do, and ends only by force.
const daemon = `#!/bin/sh
cp /bin/sleep "$(dirname "$0")/saetestd"
(trap '' TERM; exec "$(dirname "$0")/saetestd" 1000) >/dev/null 2>&1 &
echo $! >"$(dirname "$0")/pid"
`

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "start")
	if err := os.WriteFile(program, []byte(daemon), 0o755); err != nil {
		t.Fatal(err)
	}
	s := runner.Service{Argv: []string{program}, Process: "saetestd", PIDFile: filepath.Join(dir, "pid")}
	t.Cleanup(func() {
		if p, err := os.FindProcess(s.Runs()); err == nil && s.Runs() != 0 {
			_ = p.Kill()
		}
	})
	if pid := s.Runs(); pid != 0 {
		t.Errorf("it runs already: %d", pid)
	}
	before := 0
	for range 2 {
		if err := (runner.Plain{Dir: dir}).Restart(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		labtest.Eventually(t, func() error {
			if pid := s.Runs(); pid == 0 || pid == before {
				return fmt.Errorf("process %d", pid)
			}
			return nil
		})
		before = s.Runs()
	}
	another := s
	another.Process = "another"
	if pid := another.Runs(); pid != 0 {
		t.Errorf("somebody else's process %d counts", pid)
	}
	s.Argv = []string{"false"}
	if err := (runner.Plain{Dir: dir}).Restart(t.Context(), s); err == nil {
		t.Error("a program that fails is no error")
	}
}
