package fail2ban_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// regex returns whom fail2ban-regex(1) finds in a log, once for each time.
func regex(t *testing.T, h *labtest.Host, log, filter string) []string {
	t.Helper()
	path, err := filepath.Abs(log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(filter, "sae-agent-") { // ours; the others are Debian's
		if filter, err = filepath.Abs(filepath.Join(ours, "filter.d", strings.Replace(filter+".conf", "].conf", "]", 1))); err != nil {
			t.Fatal(err)
		}
		if name, mode, ok := strings.Cut(filter, "["); ok {
			filter = name + ".conf[" + mode
		}
	}
	return strings.Fields(h.Run("fail2ban-regex", "--usedns", "no", "--out", "ip", path, filter))
}

// The samples that Asterisk 22 wrote are in testdata/asterisk-22 (see
// TestAsteriskCountsOnce); the others have the documented form of their programs.
// In some of them a caller tries to have somebody else banned, 192.0.2.66.
func TestFilters(t *testing.T) {
	t.Parallel()
	h := labtest.New(t).Host("appliance")
	for _, c := range []struct {
		log, filter string
		want        []string
	}{
		{"freepbx_security.log", "sae-agent-freepbx", []string{"203.0.113.9", "203.0.113.10", "2001:db8::9", "203.0.113.11"}},
		{"nextcloud.log", "sae-agent-nextcloud", []string{"203.0.113.9", "203.0.113.10", "203.0.113.12", "2001:db8::9"}},
		{"sshd.log", "sae-agent-sshd", []string{"203.0.113.9", "203.0.113.10", "203.0.113.12", "2001:db8::9"}},
		{"asterisk-22/security.log", "sae-agent-asterisk", []string{wan, wan, wan6}},
		{"asterisk-22/security.log", "sae-agent-asterisk[mode=scan]", []string{wan, wan6, wan}},
		{"asterisk-22/full.log", "sae-agent-asterisk[mode=notice]", []string{wan, wan, wan6}},
		{"asterisk-22/many.log", "sae-agent-asterisk[mode=notice-scan]", []string{wan, wan, wan}},
		{"asterisk-22/forged.log", "sae-agent-asterisk", []string{wan}},
		{"asterisk-22/forged.log", "sae-agent-asterisk[mode=scan]", []string{}},
	} {
		t.Run(c.log+" "+c.filter, func(t *testing.T) {
			if diff := cmp.Diff(c.want, regex(t, h, filepath.Join("testdata", c.log), c.filter)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Where attempts come from.
const (
	wan  = "203.0.113.9"
	wan6 = "2001:db8::9"
)

// pjsip is an exchange with one extension.
const pjsip = `
[udp]
type=transport
protocol=udp
bind=0.0.0.0:5060
[udp6]
type=transport
protocol=udp
bind=[::]:5060
[100]
type=endpoint
context=default
disallow=all
allow=alaw
auth=100
aors=100
[100]
type=auth
auth_type=userpass
username=100
password=correct-horse-battery
[100]
type=aor
max_contacts=1
`

// logger writes the three kinds of logs that there may be.
const logger = `
[general]
dateformat=%F %T
[logfiles]
security.log => security
full.log => notice,warning,error
`

// exchange is a real Asterisk and somebody who can reach it.
type exchange struct {
	t        *testing.T
	asterisk *labtest.Asterisk
	attacker *labtest.Host
}

func newExchange(t *testing.T, settings string) *exchange {
	l := labtest.New(t)
	h, attacker := l.Host("appliance"), l.Host("attacker")
	l.Connect(h, "ens33", attacker, "eth0")
	h.Addr("ens33", "203.0.113.2/24")
	attacker.Addr("eth0", wan+"/24")
	// Not looked for first on the link (RFC 4862 section 5.4): that takes a second.
	h.Run("ip", "address", "add", "2001:db8::2/64", "dev", "ens33", "nodad")
	attacker.Run("ip", "address", "add", wan6+"/64", "dev", "eth0", "nodad")
	return &exchange{t, h.Asterisk(map[string]string{"pjsip.conf": settings, "logger.conf": logger}), attacker}
}

// log returns the lines of a log that hold a text; -update keeps them as a sample.
func (e *exchange) log(name, text, sample string) []string {
	e.t.Helper()
	data, err := os.ReadFile(filepath.Join(e.asterisk.Log(), name+".0"))
	if err != nil {
		e.t.Fatal(err)
	}
	lines := slices.DeleteFunc(strings.SplitAfter(string(data), "\n"), func(l string) bool { return !strings.Contains(l, text) })
	if golden.Update() {
		if err := os.WriteFile(filepath.Join("testdata/asterisk-22", sample), []byte(strings.Join(lines, "")), 0o644); err != nil {
			e.t.Fatal(err)
		}
	}
	return lines
}

// found returns whom a filter finds in a log of this Asterisk, as soon as there are
// so many.
func (e *exchange) found(log, filter string, want ...string) {
	e.t.Helper()
	labtest.Eventually(e.t, func() error {
		if diff := cmp.Diff(want, regex(e.t, e.attacker, filepath.Join(e.asterisk.Log(), log), filter)); diff != "" {
			return errorf("%s with %s: %s", log, filter, diff)
		}
		return nil
	})
}

// One failed attempt counts once, whether the extension exists or not and
// whatever else Asterisk logs about it.
func TestAsteriskCountsOnce(t *testing.T) {
	t.Parallel()
	e := newExchange(t, pjsip)
	e.attempt("203.0.113.2", register{user: "100", response: "wrong"})
	e.attempt("203.0.113.2", register{user: "300", response: "wrong"})
	e.attempt("2001:db8::2", register{user: "300", response: "wrong"})
	e.attempt("203.0.113.2", register{user: "300"}) // asks, and never answers the challenge
	e.found("security.log", "sae-agent-asterisk", wan, wan, wan6)
	e.found("security.log", "sae-agent-asterisk[mode=scan]", wan, wan6, wan)
	e.found("full.log", "sae-agent-asterisk[mode=notice]", wan, wan, wan6)
	e.asterisk.CLI("logger rotate") // so that all of it is written
	e.log("security.log", "SecurityEvent", "security.log")
	e.log("full.log", "failed for", "full.log")
}

// FreePBX identifies callers by what they answer too; Asterisk then logs unknown
// ones only when they come again and again, in words of its own.
func TestAsteriskLogsManyTries(t *testing.T) {
	t.Parallel()
	e := newExchange(t, "[global]\ntype=global\nendpoint_identifier_order=username,ip,anonymous,header,auth_username\n"+pjsip)
	for range 7 {
		e.attempt("203.0.113.2", register{user: "300"})
	}
	e.found("full.log", "sae-agent-asterisk[mode=notice-scan]", wan, wan, wan)
	e.asterisk.CLI("logger rotate")
	if lines := e.log("full.log", "failed for", "many.log"); !strings.Contains(lines[0], "No matching endpoint found after 5 tries in ") {
		t.Errorf("another line than expected: %q", lines)
	}
}

// A caller who writes somebody else's address into its name has nobody banned.
func TestAsteriskForgedFields(t *testing.T) {
	t.Parallel()
	e := newExchange(t, pjsip)
	// What a name is cut to leaves room for just that.
	e.attempt("203.0.113.2", register{user: "1%22,RemoteAddress=%22IPV4/UDP/192.0.2.66/5"})
	e.attempt("203.0.113.2", register{user: "100", response: "wrong", call: `x",RemoteAddress="IPV4/UDP/192.0.2.66/5060",X="`})
	e.attempt("203.0.113.2", register{user: "100", response: `x\",RemoteAddress=\"IPV4/UDP/192.0.2.66/5060`})
	e.found("security.log", "sae-agent-asterisk", wan)
	e.found("security.log", "sae-agent-asterisk[mode=scan]", wan)
	e.asterisk.CLI("logger rotate")
	e.log("security.log", "192.0.2.66", "forged.log")
}
