package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

const securityLog = "/var/log/asterisk/security.log"

// fail2ban gives the appliance a real fail2ban as the package sets it up, but with
// bans handed to the program under test.
func (a *appliance) fail2ban() {
	a.t.Helper()
	a.host.PackagedFail2ban()
	for _, dir := range []string{"filter.d", "action.d", "sae-agent.conf"} {
		to := "/etc/fail2ban"
		if dir == "sae-agent.conf" {
			to = "/etc/fail2ban/jail.d"
		}
		a.host.Run("cp", "-r", filepath.Join("../../packaging/fail2ban", dir), to)
	}
	a.put("/etc/fail2ban/action.d/sae-agent.local", "[Init]\ncommand = env "+strings.Join(a.command(), " ")+"\n")
	a.put("/etc/fail2ban/fail2ban.local", "[Definition]\nlogtarget = STDOUT\ndbfile = None\n")
	a.host.Run("mkdir", "-p", "/run/fail2ban")
	a.host.Start("fail2ban-server", "-xf", "start")
	labtest.Eventually(a.t, func() error {
		if out, err := a.host.Command("fail2ban-client", "ping").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// logs gives the appliance a /var/log of its own, with Asterisk's.
func (a *appliance) logs() {
	a.t.Helper()
	a.host.Run("mount", "-t", "tmpfs", "tmpfs", "/var/log")
	a.host.Run("mkdir", "/var/log/asterisk")
	a.put(securityLog, "")
}

// put writes a file as the host sees it.
func (a *appliance) put(path, content string) {
	a.t.Helper()
	cmd := a.host.Command("tee", path)
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("%s: %v: %s", path, err, out)
	}
}

// wrong appends wrong answers to a challenge to the log, as Asterisk does.
func (a *appliance) wrong(from string, times int) {
	a.t.Helper()
	line := fmt.Sprintf(`[%s] SECURITY[174] res_security_log.c: SecurityEvent="ChallengeResponseFailed",Severity="Error",Service="PJSIP",EventVersion="1",AccountID="100",SessionID="1",LocalAddress="IPV4/UDP/198.51.100.50/5060",RemoteAddress="IPV4/UDP/%s/5060",Challenge="",Response="",ExpectedResponse=""`+"\n",
		time.Now().Format("2006-01-02 15:04:05"), from)
	cmd := a.host.Command("tee", "-a", securityLog)
	cmd.Stdin = strings.NewReader(strings.Repeat(line, times))
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("%v: %s", err, out)
	}
}

// banned waits until a sender is banned, and returns what is said of it.
func (a *appliance) banned(address string) (found control.Ban) {
	a.t.Helper()
	labtest.Eventually(a.t, func() error {
		var bans []control.Ban
		a.query(&bans, "bans")
		for _, b := range bans {
			if b.Address == address {
				found = b
				return nil
			}
		}
		return fmt.Errorf("%s is not banned, but %+v", address, bans)
	})
	return found
}

// free reports whether neither the ruleset nor fail2ban bans a sender.
func (a *appliance) free(address string) error {
	for _, list := range [][]string{{"nft", "list", "ruleset"}, {"fail2ban-client", "banned"}} {
		if out := a.host.Run(list[0], list[1:]...); strings.Contains(out, address) {
			return fmt.Errorf("%v still has %s:\n%s", list, address, out)
		}
	}
	return nil
}

// From a line in a log to a ban in the kernel; lifted at both places by one command,
// and given anew to who goes on.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	config := strings.NewReplacer("pbx: {driver: none}", "pbx: {driver: asterisk}", "firewall: {enabled: false}", "firewall: {allow: [203.0.113.77]}").Replace(siteConfig)
	a := prepareAppliance(t, config)
	a.logs()
	a.fail2ban()
	a.start()
	jails := func() error {
		out := a.host.Run("fail2ban-client", "status")
		for _, jail := range []string{"sshd", "sae-asterisk", "sae-asterisk-scan"} {
			if !strings.Contains(out, jail) {
				return fmt.Errorf("no %s:\n%s", jail, out)
			}
		}
		return nil
	}
	labtest.Eventually(t, jails)
	for _, never := range []string{"192.168.1.20", "203.0.113.77", "127.0.0.1"} {
		a.wrong(never, 10)
	}
	a.wrong("203.0.113.9", 5)
	a.wrong("203.0.113.10", 5)
	b := a.banned("203.0.113.9")
	if b.Jail != "sae-asterisk" || b.Reason != "wrong SIP passwords" || b.Attempts != 5 || b.Until.Sub(b.Since) != 10*time.Minute {
		t.Errorf("ban: %+v", b)
	}
	a.banned("203.0.113.10")
	var bans []control.Ban
	if a.query(&bans, "bans"); len(bans) != 2 {
		t.Errorf("the LAN, or who is allowed, is banned: %+v", bans)
	}
	a.must("bans", "remove", "203.0.113.9")
	if err := a.free("203.0.113.9"); err != nil {
		t.Error(err)
	}
	a.wrong("203.0.113.9", 5)
	a.banned("203.0.113.9")
	a.must("bans", "remove", "--all")
	for _, address := range []string{"203.0.113.9", "203.0.113.10"} {
		if err := a.free(address); err != nil {
			t.Error(err)
		}
	}
	a.edit("firewall: {allow: [203.0.113.77]}", "firewall: {enabled: false}")
	a.must("apply")
	labtest.Eventually(t, func() error {
		if out := a.host.Run("ls", "/etc/fail2ban/jail.d"); strings.Contains(out, "sae-agent-jails.conf") {
			return fmt.Errorf("our jails are still there: %s", out)
		}
		return nil
	})
}
