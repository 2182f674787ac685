package system

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

const attacker = "198.51.100.66" // a second address of the provider's machine

// reach opens a connection to the machine's SSH server, from one of the
// provider's addresses. A connection that is dropped ends by ssh-keyscan's limit.
func (m *machine) reach(from, address string) bool {
	m.t.Helper()
	out, _ := m.provider.Command("curl", "-sS", "--interface", from, "--max-time", "3", "telnet://"+address+":22").CombinedOutput()
	return strings.Contains(string(out), "SSH-2.0-")
}

// left is how long a ban still lasts, as the kernel has it.
func (m *machine) left(addr string) time.Duration {
	m.t.Helper()
	var l struct {
		Nftables []struct {
			Set *struct {
				Elem []struct {
					Elem struct {
						Val     string
						Expires int
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(m.sh("nft -j list set inet sae_agent ban4")), &l); err != nil {
		m.t.Fatal(err)
	}
	for _, o := range l.Nftables {
		if o.Set == nil {
			continue
		}
		for _, e := range o.Set.Elem {
			if e.Elem.Val == addr {
				return time.Duration(e.Elem.Expires) * time.Second
			}
		}
	}
	m.t.Errorf("%s is not banned", addr)
	return 0
}

// Installed over SSH from the Internet, the firewall cuts nobody off, bans who is
// to be banned over a reboot, and is in force before the network is.
func TestFirewall(t *testing.T) {
	m := newMachine(t)
	m.boot()
	address := m.manage("ifupdown")
	m.provider.Addr("eth0", attacker+"/24")
	operator := m.ssh(m.provider, address) // before there is any rule, and so before connection tracking
	if rules := m.sh("nft list ruleset"); rules != "" {
		t.Fatalf("there are rules already: %s", rules)
	}
	m.install()
	m.eventually("nft list table inet sae_agent", "chain guard", "tcp dport 22 accept")
	operator.alive()
	m.namePhones()
	m.phonesBoot()
	operator.alive()
	if !m.reach("198.51.100.1", address) {
		t.Error("a new SSH session does not open")
	}

	if out, err := m.try("sae-agent firewall test wan udp 69"); err == nil || !strings.Contains(out, "TFTP: LAN only") {
		t.Errorf("firewall test: %v: %s", err, out)
	}
	m.sh("sae-agent firewall test lan udp 69")
	m.sh("sae-agent bans add " + attacker + " --jail test --reason 'a test' --attempts 3 --duration 2h")
	begun := time.Now()
	if m.reach(attacker, address) {
		t.Error("a sender that is banned gets through")
	}
	m.sh("systemctl enable --now --quiet nftables && systemctl restart nftables") // it begins by flushing everything
	m.eventually("nft list ruleset", "table inet filter", "chain guard", attacker)
	operator.alive()
	m.sh("systemctl restart sae-agent")
	m.eventually("sae-agent bans", attacker, "a test")

	m.sh("systemctl disable --quiet sae-agent") // what is there after the boot is the boot unit's
	m.reboot()
	m.sh("systemctl is-active sae-agent-boot && nft list table inet sae_agent | grep -q 'chain guard'")
	if got, want := m.left(attacker), 2*time.Hour-time.Since(begun); (got - want).Abs() > time.Minute {
		t.Errorf("after the reboot %v of the ban are left, want %v", got, want)
	}
	m.eventually("ip -4 -o address show dev ens33", address)
	if m.reach(attacker, address) || !m.reach("198.51.100.1", address) {
		t.Error("the rules of the boot let the wrong ones through")
	}
	m.sh("systemctl enable --now --quiet sae-agent")
	m.eventually("sae-agent bans", attacker, "a test")
	m.sh("sae-agent bans remove " + attacker)
	labtest.Eventually(t, func() error {
		if !m.reach(attacker, address) {
			return errors.New("the ban was lifted, and is in force")
		}
		return nil
	})
}

// Whoever is logged in is not banned, and a change that nobody confirms does not
// stay in the ruleset.
func TestFirewallOfATrial(t *testing.T) {
	m := ready(t)
	address := strings.Split(strings.Fields(m.sh("ip -4 -o address show dev ens33"))[3], "/")[0]
	m.ssh(m.provider, address)
	m.provider.Start("ssh", "-tt", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", m.key, "root@"+address, "echo begins; sleep 1000").WaitOutput("begins")
	m.eventually("sae-agent bans add 198.51.100.1 --jail test", "is never banned")

	m.sh("sed -i 's/wan_allow: .*/wan_allow: [ssh, 2222\\/tcp]/' /etc/sae-agent/config.yaml")
	if out := m.sh("sae-agent plan"); !strings.Contains(out, "firewall: + the Internet to the appliance: 2222/tcp") {
		t.Errorf("the plan does not say what changes:\n%s", out)
	}
	m.sh("sae-agent apply --confirm 10s && nft list table inet sae_agent | grep -q 2222 && ! grep -q 2222 /var/lib/sae-agent/firewall/ruleset.nft")
	m.sh("systemctl kill -s KILL sae-agent; systemctl stop sae-agent")
	m.eventually("nft list table inet sae_agent", "chain guard", "!2222")
	m.sh("systemctl start sae-agent")
	m.eventually("sae-agent apply && sae-agent confirm; grep 2222 /var/lib/sae-agent/firewall/ruleset.nft", "tcp dport 2222 accept")
}
