package system

import (
	"strings"
	"testing"
)

// On an installed machine fail2ban hands its bans to the sandboxed daemon, which
// drops the sender in the kernel and lifts both bans with one command.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.install()
	m.eventually("fail2ban-client status", "sshd")
	m.eventually("cat /etc/fail2ban/jail.d/sae-agent-jails.conf", "[sshd]", "action = sae-agent")
	m.eventually("fail2ban-client get sshd actions", "sae-agent")
	m.sh("fail2ban-client set sshd banip 203.0.113.9")
	m.eventually("sae-agent bans", "203.0.113.9", "sshd", "wrong SSH logins")
	m.eventually("nft list set inet sae_agent ban4", "203.0.113.9")
	m.sh("sae-agent bans remove 203.0.113.9")
	for _, list := range []string{"sae-agent bans", "nft list set inet sae_agent ban4", "fail2ban-client banned"} {
		if out := m.sh(list); strings.Contains(out, "203.0.113.9") {
			t.Errorf("%s after the ban was lifted:\n%s", list, out)
		}
	}
	m.eventually("sae-agent status", "Parts", "!fail2ban does not run")

	// A daemon that ends while it asks fail2ban leaves nothing of it.
	m.sh("for i in 1 2 3 4 5 6 7 8; do systemctl restart sae-agent; sleep 0.$i; done; systemctl stop sae-agent")
	if out := m.sh("systemctl list-units --all --plain --no-legend 'sae-agent-*'"); strings.Contains(out, "failed") {
		t.Errorf("left by daemons that have ended:\n%s", out)
	}
}
