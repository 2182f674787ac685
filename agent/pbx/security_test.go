package pbx

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// A security event of Asterisk 22 on the wire. It cuts an account to 36 bytes; a Call-ID has no line break.
func securityWire(account, call, from string) string {
	return "Event: InvalidAccountID\r\nPrivilege: security,all\r\nEventTV: 2026-11-28T03:13:43.945+0000\r\nSeverity: Error\r\nService: PJSIP\r\nEventVersion: 1\r\n" +
		fmt.Sprintf("AccountID: %.36s\r\nSessionID: %s\r\nLocalAddress: IPV4/UDP/203.0.113.2/5060\r\nRemoteAddress: IPV4/UDP/%s/42870\r\n\r\n",
			account, strings.NewReplacer("\r", "", "\n", "").Replace(call), from)
}

// messages splits what Asterisk writes as the client of the manager interface does: at blank lines, whatever ends a line.
func messages(wire string) (out []ami.Message) {
	var m ami.Message
	for line := range strings.SplitSeq(wire, "\n") {
		line = strings.TrimRight(line, "\r")
		key, value, ok := strings.Cut(line, ":")
		switch {
		case ok:
			m = append(m, ami.Field{Key: key, Value: strings.TrimPrefix(value, " ")})
		case line == "" && len(m) > 0:
			out, m = append(out, m), nil
		}
	}
	return out
}

const attacker, victim = "203.0.113.9", "192.0.2.66"

// senders returns whom the security events of a wire name.
func senders(wire string) (out []netip.Addr) {
	for _, m := range messages(wire) {
		if e, ok := securityEvent(m, time.Now()); ok && e.Remote.IsValid() {
			out = append(out, e.Remote.Addr())
		}
	}
	return out
}

// These were written by a real Asterisk for REGISTER sip:1%0d%0aRemoteAddress%3a….
func TestAccountWithLineBreaks(t *testing.T) {
	if got := senders(securityWire("100", "x", attacker)); len(got) != 1 || got[0].String() != attacker {
		t.Fatalf("a plain event is of %v", got)
	}
	for _, account := range []string{
		"1\r\nRemoteAddress: IPV4/UDP/192.0.2.66/5", "\nRemoteAddress:IPV4/UDP/192.0.2.66/5", "\nRemoteAddress:///192.0.2.66/5\n\n",
		"\nSessionID:\nRemoteAddress:///192.0.2.66/5", "x\r\n\r\nEvent: FailedACL", "\nLocalAddress:///1.1.1.1/1", "1\r\n",
	} {
		for _, from := range senders(securityWire(account, "x", attacker)) {
			if from.String() != attacker {
				t.Errorf("%q: counted for %v", account, from)
			}
		}
	}
}

// Whatever a sender writes into the fields that it may fill, the event is of that sender or of nobody.
func TestSecurityEventIsOfItsSender(t *testing.T) {
	parts := []string{
		"\n", "\r\n", "\n\n", ":", " ", "/", victim, "1", "\nRemoteAddress:IPV4/UDP/8.8.8.8/5", "RemoteAddress:", "LocalAddress:", "SessionID:", "AccountID:", "Event:", "FailedACL", "///" + victim + "/5",
		"IPV4/UDP/" + victim + "/5", "Response:Success", "\x00", "é",
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	value := func() string {
		var b bytes.Buffer
		for range r.IntN(8) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		return b.String()
	}
	for range 3000 {
		wire := securityWire(value(), value(), attacker) + securityWire("100", "next", "203.0.113.10")
		for _, from := range senders(wire) {
			if s := from.String(); s != attacker && s != "203.0.113.10" {
				t.Fatalf("counted for %v (seed %d):\n%q", from, seed, wire)
			}
		}
	}
}

func FuzzSecurityEvent(f *testing.F) {
	f.Add("1\r\nRemoteAddress: IPV4/UDP/192.0.2.66/5", "x")
	f.Add("\nRemoteAddress:///192.0.2.66/5\n\n", "RemoteAddress: IPV4/UDP/192.0.2.66/5")
	f.Fuzz(func(t *testing.T, account, call string) {
		for _, from := range senders(securityWire(account, call, attacker)) {
			if from.String() != attacker {
				t.Fatalf("counted for %v", from)
			}
		}
	})
}
