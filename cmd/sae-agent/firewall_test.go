package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// firewallConfig is the site's, with the firewall.
var firewallConfig = strings.Replace(siteConfig, "firewall: {enabled: false}", "firewall: {enabled: true, wan_allow: [ssh], allow: [203.0.113.0/24]}", 1)

// rulesAre waits until the kernel's table has all texts; one that begins with ! must
// not be there.
func (a *appliance) rulesAre(texts ...string) {
	a.t.Helper()
	labtest.Eventually(a.t, func() error {
		out, _ := a.host.Command("nft", "list", "table", "inet", "sae_agent").CombinedOutput()
		for _, text := range texts {
			not, negated := strings.CutPrefix(text, "!")
			if strings.Contains(string(out), not) == negated {
				return fmt.Errorf("want %q:\n%s", text, out)
			}
		}
		return nil
	})
}

func TestFirewallCommands(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, firewallConfig)
	a.rulesAre("chain guard", "tcp dport 22 accept", "masquerade")
	labtest.Eventually(t, func() error { // the daemon reads back what it has loaded
		out := a.must("firewall", "show")
		for _, want := range []string{"table inet sae_agent {", `udp dport 69 accept comment "TFTP"`} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("show lacks %q:\n%s", want, out)
			}
		}
		return nil
	})
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"wan tcp 22", exitOK, "passes: SSH"},
		{"wan udp 69", exitFailed, "DROPPED: TFTP: LAN only"},
		{"lan udp 69", exitOK, "passes: TFTP"},
		{"lan tcp 3306", exitFailed, "DROPPED: closed to the LAN"},
		{"198.51.100.66 icmp", exitOK, "ping"},
		{"moon tcp 1", exitFailed, "is no sender"},
		{"wan tcp seventy", exitUsage, "is not a port"},
	} {
		out, status := a.run(append([]string{"firewall", "test"}, strings.Fields(test.args)...)...)
		if status != test.status || !strings.Contains(out, test.want) {
			t.Errorf("firewall test %s: status %d, want %d %q\n%s", test.args, status, test.status, test.want, out)
		}
	}

	if out := a.must("bans"); out != "Nobody is banned.\n" {
		t.Errorf("bans: %s", out)
	}
	a.must("bans", "add", "198.51.100.66", "--jail", "sshd", "--reason", "wrong passwords", "--attempts", "5", "--duration", "2h")
	a.must("bans", "add", "2001:db8:66::1", "--jail", "sshd")
	var bans []control.Ban
	a.query(&bans, "bans", "list")
	if len(bans) != 2 || bans[1].Address != "198.51.100.66" || bans[1].Attempts != 5 || bans[1].Reason != "wrong passwords" || bans[0].Address != "2001:db8:66::" {
		t.Errorf("bans: %+v", bans)
	}
	a.fails("DROPPED: banned", "firewall", "test", "198.51.100.66", "tcp", "22")
	var own string // by the provider
	labtest.Eventually(t, func() error {
		words := strings.Fields(a.host.Run("ip", "-4", "-o", "addr", "show", "dev", "ens33"))
		if len(words) < 4 {
			return errors.New("ens33 has no address yet")
		}
		own, _, _ = strings.Cut(words[3], "/")
		return nil
	})
	for _, never := range []string{"192.168.1.20", "203.0.113.9", own, "127.0.0.1"} {
		a.fails("is never banned", "bans", "add", never)
	}
	a.fails("is not the name of a jail", "bans", "add", "198.51.100.67", "--jail", "Big Jail")
	a.fails("is not an address", "bans", "remove", "nobody")
	if out := a.must("bans", "remove", "198.51.100.66"); out != "Lifted: 198.51.100.66\n" {
		t.Errorf("remove: %s", out)
	}
	if out := a.must("bans", "remove", "198.51.100.66"); out != "It was not banned.\n" {
		t.Errorf("remove again: %s", out)
	}
	a.must("bans", "remove", "--all")
	a.must("firewall", "test", "198.51.100.66", "tcp", "22")
	if _, status := a.run("bans", "remove"); status != exitUsage {
		t.Errorf("remove nobody: status %d", status)
	}
}

// A change of the ruleset is shown, tried, undone without the daemon, and loaded
// at the machine's start only once it is confirmed.
func TestFirewallIsTriedAndUndone(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, firewallConfig)
	a.rulesAre("chain guard", "!2222")
	a.must("bans", "add", "198.51.100.66", "--jail", "sshd", "--duration", "2h")
	a.edit("wan_allow: [ssh]", "wan_allow: [ssh, 2222/tcp]")
	if out := a.must("plan"); !strings.Contains(out, "! firewall: + the Internet to the appliance: 2222/tcp\n") || strings.Contains(out, "dport") {
		t.Errorf("plan:\n%s", out)
	}
	if out := a.must("plan", "--verbose"); !strings.Contains(out, `! rule: + wan_services: tcp dport 2222 accept`) {
		t.Errorf("plan --verbose:\n%s", out)
	}
	a.must("apply", "--confirm", "1h")
	a.rulesAre("tcp dport 2222", "198.51.100.66")
	if err := a.process.Kill(); err == nil {
		t.Error("the daemon ended by itself")
	}
	a.host.Run("nft", "flush", "ruleset") // the machine is off
	a.must("boot", "--state-dir", a.path("state"))
	a.rulesAre("chain guard", "!2222", "198.51.100.66")

	a.start()
	a.must("rollback")
	a.rulesAre("chain guard", "!2222", "198.51.100.66")
	a.edit("wan_allow: [ssh, 2222/tcp]", "wan_allow: [ssh, 2223/tcp]")
	a.must("apply", "--confirm", "1h")
	a.rulesAre("tcp dport 2223")
	if err := a.process.Kill(); err == nil {
		t.Error("the daemon ended by itself")
	}
	a.must("rollback", "--state-dir", a.path("state"))
	a.rulesAre("!2223", "chain guard", "198.51.100.66")

	a.start()
	a.edit("enabled: true, wan_allow", "enabled: false, wan_allow")
	if out := a.must("apply"); !strings.Contains(out, "! firewall: + everybody to everything: everything, the firewall is off\n") {
		t.Errorf("apply:\n%s", out)
	}
	a.rulesAre("!chain guard")
	if out := a.must("firewall", "show"); out != "No rules of ours are in force.\n" {
		t.Errorf("show:\n%s", out)
	}
	a.fails("it is off", "bans", "add", "198.51.100.67")
	a.edit("enabled: false, wan_allow", "enabled: true, wan_allow")
	a.must("apply")
	a.rulesAre("chain guard", "198.51.100.66") // bans are remembered
}

// While FreePBX's own firewall is active, ours only watches.
func TestFreePBXFirewall(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, firewallConfig)
	a.rulesAre("chain guard")
	a.host.Run("nft", "add table ip filter; add chain ip filter fpbxfirewall")
	a.rulesAre("!chain guard")
	labtest.Eventually(t, func() error {
		if out, _ := a.run("status"); !strings.Contains(out, "FreePBX's own firewall is active, so ours only watches") {
			return fmt.Errorf("status:\n%s", out)
		}
		return nil
	})
	a.host.Run("nft", "delete", "table", "ip", "filter")
	a.rulesAre("chain guard") // it has gone
}
