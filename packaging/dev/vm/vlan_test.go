//go:build vm

package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a test machine's kernel may lack is tested on Debian's own: frames of a VLAN.
func TestFramesOfAVLAN(t *testing.T) {
	program := filepath.Join(t.TempDir(), "linksource.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "vm", "-o", program, "../../../internal/linksource")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test: %v\n%s", err, out)
	}
	m := newMachine(t)
	m.boot()
	m.copy(program, "/root/linksource.test")
	if out := m.sh("modprobe 8021q && /root/linksource.test -test.v -test.run '^TestTapOnVLAN$'"); !strings.Contains(out, "--- PASS: TestTapOnVLAN") {
		t.Errorf("the test did not run:\n%s", out)
	}
}

// copy puts a program onto the machine.
func (m *machine) copy(from, to string) {
	m.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	cmd := m.ssh(m.t.Context(), "cat > "+to+" && chmod 0755 "+to)
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("copy %s: %v\n%s", to, err, out)
	}
}
