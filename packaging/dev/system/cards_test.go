package system

import (
	"strings"
	"testing"
)

// One card, and a card that does not exist: the daemon runs, says so, and is not started
// again and again.
func TestCardsThatAreMissing(t *testing.T) {
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.cards.Run("ip", "link", "set", "ens34", "down")
	m.cards.Run("ip", "link", "delete", "ens34")
	if out := m.install(); !strings.Contains(out, "sae-agent status") || !strings.Contains(out, "phones add") {
		t.Errorf("the installation does not name the next step:\n%s", out)
	}
	const runs = "systemctl show --property=NRestarts,ActiveState sae-agent"
	m.eventually("cat /etc/sae-agent/config.yaml", "only one network card (ens33)")
	m.eventually(runs, "NRestarts=0\n", "ActiveState=active")
	m.eventually("sae-agent status", "phones get no address from here")
	m.sh("printf 'wan: {interface: ens33, method: external}\nlan: {interface: eth9, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\nfirewall: {wan_allow: [ssh]}\n' > /etc/sae-agent/config.yaml")
	m.try("sae-agent apply")
	m.eventually("sae-agent status", "eth9")
	m.sh("systemctl restart sae-agent")
	m.eventually("sae-agent status", "eth9")
	m.eventually(runs, "NRestarts=0\n", "ActiveState=active")

	// Without any configuration it ends, and says what to do.
	m.sh("systemctl stop sae-agent; rm -r /var/lib/sae-agent/configs; echo 'broken: [' > /etc/sae-agent/config.yaml")
	if out, err := m.try("systemctl start sae-agent"); err == nil {
		t.Errorf("it starts without a configuration: %s", out)
	}
	m.eventually(runs, "NRestarts=0\n", "ActiveState=failed")
	m.eventually("journalctl --no-pager -u sae-agent", "the configuration is not valid")
}
