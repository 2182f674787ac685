package system

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// sample is the README's configuration.
func sample(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\n")
	yaml, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no sample")
	}
	return yaml
}

// over runs a shell script on the machine in a new SSH session from the provider's side.
func (m *machine) over(address, script string) (string, error) {
	m.t.Helper()
	out, err := m.provider.Command("ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
		"-o", "ConnectTimeout=20", "-i", m.key, "root@"+address, script).CombinedOutput()
	return string(out), err
}

// The README's sample is applied over SSH from the WAN, and its author logs in again.
// Without the line that keeps SSH open, apply says so and changes nothing, unless the
// change undoes itself.
func TestNoChangeLocksOutItsAuthor(t *testing.T) {
	m := newMachine(t)
	m.boot()
	address := m.manage("ifupdown")
	operator := m.ssh(m.provider, address)
	m.install()
	const closed = "closes port 22 to the WAN; to keep it open write firewall.wan_allow: [ssh]"

	m.sh("cat > /etc/sae-agent/config.yaml <<'END'\n" + sample(t) + "END")
	// What lacks here, such as Docker, is behind, and apply says so.
	if out, _ := m.over(address, "sae-agent apply"); strings.Contains(out, "nothing was changed") || !strings.Contains(out, "sae303") {
		t.Fatalf("apply of the sample: %s", out)
	}
	if out, err := m.over(address, "sae-agent rollback --list"); err != nil || !strings.Contains(out, "runs") {
		t.Fatalf("after the sample: %v\n%s", err, out)
	}
	operator.alive()

	m.sh("sed -i '/^firewall:/d' /etc/sae-agent/config.yaml")
	if out, err := m.over(address, "sae-agent apply"); err == nil || !strings.Contains(out, closed) || !strings.Contains(out, "--confirm") || !strings.Contains(out, "198.51.100.1") {
		t.Errorf("apply without the line: %v\n%s", err, out)
	}
	if out, err := m.over(address, "systemctl reload sae-agent; sae-agent status"); !strings.Contains(out, "differs from what runs") {
		t.Errorf("after it: %v\n%s", err, out)
	}

	if out, _ := m.over(address, "sae-agent apply --confirm 15s"); !strings.Contains(out, "Applied until") {
		t.Errorf("apply --confirm: %s", out)
	}
	operator.alive()
	if m.reach("198.51.100.1", address) {
		t.Error("a change on trial is not in force")
	}
	labtest.Eventually(t, func() error {
		if !m.reach("198.51.100.1", address) {
			return errors.New("nobody confirmed, and SSH is still closed")
		}
		return nil
	})
}
