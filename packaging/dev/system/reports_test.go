package system

import (
	"os"
	"testing"

	"github.com/sae-agent/sae-agent/internal/golden"
)

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
	golden.Equal(t, "../../../docs/systemd-security.txt", m.sh("systemd-analyze security --no-pager sae-agent.service | sed 's/ *$//'"))
}

// The documents show what lintian said when the package was built.
func TestLintian(t *testing.T) {
	report, err := os.ReadFile(build(t, "lintian.txt"))
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../../docs/lintian.txt", string(report))
}
