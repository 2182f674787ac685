package labtest_test

import (
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestPackagedFail2ban(t *testing.T) {
	h := labtest.New(t).Host("a")
	h.Run("sh", "-ec", "cd /etc/fail2ban; touch jail.local filter.d/sshd.local jail.d/own.conf fail2ban.d/own.conf action.d/sae-agent.conf")
	h.PackagedFail2ban()
	for _, added := range []string{"jail.local", "sshd.local", "own.conf", "sae-agent"} {
		if out := h.Run("find", "/etc/fail2ban", "-name", "*"+added+"*"); out != "" {
			t.Errorf("still there: %s", out)
		}
	}
	h.Run("test", "-e", "/etc/fail2ban/jail.conf", "-a", "-e", "/etc/fail2ban/jail.d/defaults-debian.conf")
}
