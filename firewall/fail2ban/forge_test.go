package fail2ban_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// victim is who a sender would have banned in its place.
const victim = "198.51.100.99"

// forgeries are what a sender writes into its fields: parts of the lines that the filters look for, with the victim's
// address. Each field of the property test is made of some of them.
var forgeries = []string{
	victim, victim + ":5060", "[2001:db8::99]:5060", " ", "'", `"`, `\`, `\"`, ",", ":", "x", "q", "é", "\t", "\r", "\x7f", "\u2028", "(", ")", "[", "]", "<", ">", "{", "}",
	"' failed for '", "' failed for '" + victim + ":5060' (callid: ", ") - Failed to authenticate", ") - No matching endpoint found",
	" failed for '" + victim + ":5060'", "Request 'REGISTER' from '", "NOTICE[1] res_pjsip/pjsip_distributor.c: ",
	`",RemoteAddress="IPV4/UDP/` + victim + `/5060"`, `",RemoteAddress="IPV4/UDP/` + victim + `/5060",X="`, ",RemoteAddress=", `RemoteAddress="IPV4/TCP/` + victim + `/5"`,
	`",SessionID="`, `",LocalAddress="IPV4/UDP/203.0.113.2/5060`, `"ChallengeResponseFailed"`, "SecurityEvent=", `AccountID="<unknown>"`, `",Y="\`,
	"Authentication failure for x from " + victim, " from " + victim, " from " + victim + " [] []", "[] []", " from ",
	" from " + victim + " port 5 ssh2", " from " + victim + " port 5 ssh2: y", " from " + victim + " port 5 [preauth]", " port 5", " ssh2", ": ", " on ", " [preauth]",
	"Invalid user ", "Failed password for ", "invalid user ", " not allowed because not listed in AllowUsers", victim + " port 5: Change of username or service not allowed: ",
	`","remoteAddr":"` + victim + `","message":"Login failed: `, `"remoteAddr":"` + victim + `"`, `"message":"Login failed: `, "Login failed: x", "(Remote IP: " + victim + ")",
}

// fields makes up the values of a line's fields.
type fields struct{ *rand.Rand }

func (f fields) value() string {
	var b strings.Builder
	for range f.IntN(7) {
		b.WriteString(forgeries[f.IntN(len(forgeries))])
	}
	return strings.ReplaceAll(b.String(), "\n", "")
}

// sipLine is one in the security events of Asterisk 22, or in its notices.
func (f fields) security(from netip.Addr) string {
	event, account := "ChallengeResponseFailed", f.value()
	if f.IntN(2) == 0 {
		event, account = "ChallengeSent", "<unknown>"
	}
	return fmt.Sprintf(`[2026-11-24 23:20:12] SECURITY[550] res_security_log.c: SecurityEvent="%s",EventTV="2026-11-24T23:20:12.275+0000",Severity="Error",Service="PJSIP",`+
		`EventVersion="1",AccountID="%s",SessionID="%s",LocalAddress="IPV4/UDP/203.0.113.2/5060",RemoteAddress="IPV4/UDP/%s/33637",Challenge="%s",Response="%s",ExpectedResponse=""`,
		event, account, f.value(), from, f.value(), f.value())
}

func (f fields) notice(from netip.Addr) string {
	why := []string{"Failed to authenticate", "No matching endpoint found", "No matching endpoint found after 5 tries in 0.001 ms"}[f.IntN(3)]
	return fmt.Sprintf("[2026-11-24 23:20:12] NOTICE[508] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '\"%s\" <sip:%s@pbx>' failed for '%s:33637' (callid: %s) - %s",
		f.value(), f.value(), from, f.value(), why)
}

func (f fields) freepbx(from netip.Addr) string {
	if f.IntN(3) == 0 {
		return fmt.Sprintf("[2026-11-24 10:21:41] [freepbx_security.NOTICE]: Possible proxy detected, forwarded headers for%s set to %s [] []", f.value(), f.value())
	}
	return fmt.Sprintf("[2026-11-24 10:21:38] [freepbx_security.NOTICE]: Authentication failure for %s from %s [] []", f.value(), from)
}

func (f fields) nextcloud(from netip.Addr) string {
	user := f.value()
	message := fmt.Sprintf("Login failed: %s (Remote IP: %s)", user, from)
	if f.IntN(3) == 0 {
		message = "Cannot read " + user
	}
	quoted := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}
	return fmt.Sprintf(`{"reqId":"up3RdhwXxxGTV3nlIMH9","level":2,"time":"2026-11-24T10:21:38+00:00","remoteAddr":"%s","user":%s,"app":"core","method":"POST","url":%s,"message":%s,"userAgent":%s,"version":"31.0.2.1","data":[]}`,
		from, quoted(f.value()), quoted(f.value()), quoted(message), quoted(f.value()))
}

// sshd is a line of OpenSSH 9.2, which encodes control characters as vis(3) does.
func (f fields) sshd(from netip.Addr) string {
	name := func() string {
		return strings.NewReplacer("\r", `\r`, "\t", `\t`, "\x7f", `\^?`, `\`, `\\`).Replace(f.value())
	}
	line := []string{
		fmt.Sprintf("Failed password for %s from %s port 51001 ssh2", name(), from),
		fmt.Sprintf("Failed password for invalid user %s from %s port 51001 ssh2", name(), from),
		fmt.Sprintf("Failed keyboard-interactive/pam for invalid user %s from %s port 51001 ssh2", name(), from),
		fmt.Sprintf("Failed publickey for invalid user %s from %s port 51001 ssh2: RSA-CERT SHA256:abc ID %s (serial 0) CA RSA SHA256:def", name(), from, name()),
		fmt.Sprintf("Invalid user %s from %s port 51001", name(), from),
		fmt.Sprintf("error: maximum authentication attempts exceeded for invalid user %s from %s port 51001 ssh2 [preauth]", name(), from),
		fmt.Sprintf("Connection closed by invalid user %s %s port 51001 [preauth]", name(), from),
		fmt.Sprintf("Disconnecting invalid user %s %s port 51001: Change of username or service not allowed: (%s,ssh-connection) -> (%s,ssh-connection) [preauth]", name(), from, name(), name()),
		fmt.Sprintf("Received disconnect from %s port 51001:11: %s [preauth]", from, name()),
		fmt.Sprintf("Received disconnect from %s port 51001:3: %s: Auth fail [preauth]", from, name()),
		fmt.Sprintf("User %s from %s not allowed because not listed in AllowUsers", name(), from),
		fmt.Sprintf("banner exchange: Connection from %s port 51001: invalid format", from),
		fmt.Sprintf("error: kex_exchange_identification: client sent invalid protocol identifier \"%s\"", name()),
	}
	return "Nov 24 10:21:38 sae303 sshd[1201]: " + line[f.IntN(len(line))]
}

// Whatever a sender writes into every field that it may fill, a line is counted for that sender or for nobody.
func TestNobodyElseIsBanned(t *testing.T) {
	t.Parallel()
	h := labtest.New(t).Host("appliance")
	seed := rand.Uint64()
	const lines = 1000
	for _, c := range []struct {
		filter string
		line   func(fields, netip.Addr) string
	}{
		{"sae-agent-asterisk", fields.security},
		{"sae-agent-asterisk[mode=scan]", fields.security},
		{"sae-agent-asterisk[mode=notice]", fields.notice},
		{"sae-agent-asterisk[mode=notice-scan]", fields.notice},
		{"sae-agent-freepbx", fields.freepbx},
		{"sae-agent-nextcloud", fields.nextcloud},
		{"sae-agent-sshd", fields.sshd},
	} {
		t.Run(c.filter, func(t *testing.T) {
			f := fields{rand.New(rand.NewPCG(seed, 0))}
			var log strings.Builder
			sent := make(map[string]string)
			for i := range lines {
				from := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
				sent[from.String()] = c.line(f, from)
				fmt.Fprintln(&log, sent[from.String()])
			}
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(log.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			found := regex(t, h, path, c.filter)
			if len(found) < lines/50 {
				t.Errorf("only %d of %d senders were found: the filter does not know these lines", len(found), lines)
			}
			for _, who := range found {
				if sent[who] == "" {
					t.Errorf("%s is counted and has sent nothing (seed %d); lines with it:\n%s", who, seed, grep(log.String(), who))
					return
				}
				delete(sent, who) // one attempt counts once
			}
		})
	}
}

func grep(text, part string) string {
	var out []string
	for l := range strings.Lines(text) {
		if strings.Contains(l, part) && len(out) < 5 {
			out = append(out, l)
		}
	}
	return strings.Join(out, "")
}
