package defence

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
)

// Which jails there are is a matter of the configuration and of the logs that exist.
func TestJails(t *testing.T) {
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
			got := Jails(parttest.Config(t, c.edit...), Facts{Logs: c.logs}, state)
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
	got := Jails(parttest.Config(t, "lan: {", "firewall: {allow: [203.0.113.0/24, branch.example]}\nlan: {"), Facts{Containers: []netip.Prefix{docker}}, "/x")
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("203.0.113.0/24"), docker}
	if !slices.Equal(got.Ignore, want) {
		t.Errorf("ignored: %v, want %v", got.Ignore, want)
	}
	if text := string(fail2ban.Render(got)); !strings.Contains(text, "ignoreip = 127.0.0.0/8 ::1 192.168.1.0/24 203.0.113.0/24 172.18.0.0/16\n") {
		t.Errorf("rendered:\n%s", text)
	}
}
