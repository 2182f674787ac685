package system

import (
	"os"
	"path/filepath"
	"testing"
)

// inDocs compares what a tool says with what the documents show; -update writes it there.
func inDocs(t *testing.T, name, report string) {
	t.Helper()
	path := filepath.Join("..", "..", "..", "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || report != string(want) {
		t.Errorf("this is not what %s shows (go test -update): %v\n%s", path, err, report)
	}
}

// The documents show what systemd says of the service's sandbox.
func TestSandbox(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.install()
	for _, unit := range []string{"sae-agent.service", "sae-agent-boot.service"} {
		m.sh("systemd-analyze security --threshold=30 " + unit)
	}
	inDocs(t, "systemd-security.txt", m.sh("systemd-analyze security --no-pager sae-agent.service | sed 's/ *$//'"))
}

// The documents show what lintian said when the package was built.
func TestLintian(t *testing.T) {
	report, err := os.ReadFile(build(t, "lintian.txt"))
	if err != nil {
		t.Fatal(err)
	}
	inDocs(t, "lintian.txt", string(report))
}
