package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
)

// Which jails there are is a matter of the configuration and of the logs that exist.
func TestDesiredFail2ban(t *testing.T) {
	const state = "/var/lib/sae-agent"
	every := []string{asteriskSecurity, asteriskFull, freepbxSecurity, state + "/" + nextcloudLog}
	const here = "lan: {"
	for name, c := range map[string]struct {
		edit []string
		logs []string
		want string // jail=filter:log
	}{
		"nothing to read": {nil, nil, "sshd=sae-agent-sshd:"},
		"freepbx": {nil, every, "sshd=sae-agent-sshd: sae-asterisk=sae-agent-asterisk[mode=auth]:" + asteriskSecurity +
			" sae-asterisk-scan=sae-agent-asterisk[mode=scan]:" + asteriskSecurity + " sae-freepbx=sae-agent-freepbx:" + freepbxSecurity},
		"freepbx without security events": {nil, []string{asteriskFull}, "sshd=sae-agent-sshd: sae-asterisk=sae-agent-asterisk[mode=notice]:" + asteriskFull +
			" sae-asterisk-scan=sae-agent-asterisk[mode=notice-scan]:" + asteriskFull},
		"nextcloud, and no exchange": {[]string{here, "pbx: {driver: none}\nstacks: {nextcloud: {enabled: true}}\n" + here}, every,
			"sshd=sae-agent-sshd: sae-nextcloud=sae-agent-nextcloud:" + state + "/" + nextcloudLog},
		"no firewall": {[]string{here, "firewall: {enabled: false}\n" + here}, every, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := desiredFail2ban(load(t, c.edit...), fail2banFacts{logs: c.logs}, state)
			if err := got.Validate(); err != nil {
				t.Fatal(err)
			}
			var jails []string
			for _, j := range got.Jails {
				jails = append(jails, j.Name+"="+j.Filter+":"+strings.Join(j.Logs, ","))
			}
			if s := strings.Join(jails, " "); s != c.want {
				t.Errorf("jails: %s\nwant: %s", s, c.want)
			}
		})
	}
}

// The LAN, containers and those that the operator trusts are not even counted.
func TestFail2banIgnores(t *testing.T) {
	docker := netip.MustParsePrefix("172.18.0.0/16")
	got := desiredFail2ban(load(t, "lan: {", "firewall: {allow: [203.0.113.0/24, branch.example]}\nlan: {"), fail2banFacts{containers: []netip.Prefix{docker}}, "/x")
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("203.0.113.0/24"), docker}
	if !slices.Equal(got.Ignore, want) {
		t.Errorf("ignored: %v, want %v", got.Ignore, want)
	}
	if text := string(fail2ban.Render(got)); !strings.Contains(text, "ignoreip = 127.0.0.0/8 ::1 192.168.1.0/24 203.0.113.0/24 172.18.0.0/16\n") {
		t.Errorf("rendered:\n%s", text)
	}
}

func TestDesiredMarks(t *testing.T) {
	marks := func(c *config.Config) map[string]uint8 {
		out := make(map[string]uint8)
		for _, m := range desiredMarks(c) {
			out[m.Name+"/"+m.Protocol] = m.DSCP
		}
		return out
	}
	got := marks(load(t, "lan: {", "stacks: {jitsi: {enabled: true}, nextcloud: {enabled: true}}\nlan: {"))
	want := map[string]uint8{"SIP/udp": 24, "SIP/tcp": 24, "SIP over TLS/tcp": 24, "voice of the PBX/udp": 46, "Jitsi's video bridge/udp": 34, "voice of Jitsi's SIP gateway/udp": 46}
	for name, dscp := range want {
		if got[name] != dscp {
			t.Errorf("%s: %d, want %d", name, got[name], dscp)
		}
	}
	if len(got) != len(want) {
		t.Errorf("marks: %v, want %v", got, want)
	}
	if none := marks(load(t, "lan: {", "pbx: {driver: none}\nlan: {")); len(none) != 0 {
		t.Errorf("without an exchange: %v", none)
	}
	if err := (firewall.Config{LAN: "ens34", Marks: desiredMarks(load(t))}).Validate(); err != nil {
		t.Error(err)
	}
}

// The gateway into meetings talks SIP to us from a bridge of our stacks: it is in
// the zone of containers, and never banned.
func TestStacksAreContainers(t *testing.T) {
	for _, link := range []string{"docker0", "br-0123456789ab", "sae-jitsi", "sae-nextcloud", "sae-nextcl-db"} {
		if !isContainerLink(link) {
			t.Errorf("%s is no link of containers", link)
		}
	}
	for _, link := range []string{"ens33", "ens34", "lo", "wg0"} {
		if isContainerLink(link) {
			t.Errorf("%s is a link of containers", link)
		}
	}
}
