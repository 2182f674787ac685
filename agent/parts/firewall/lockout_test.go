package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
)

// Whom a change of the file locks out.
func TestLocksOut(t *testing.T) {
	at := netip.MustParseAddr
	fromWAN := part.Session{Peer: at("198.51.100.1"), Local: netip.MustParseAddrPort("198.51.100.50:22"), Link: "ens33"}
	fromLAN := part.Session{Peer: at("192.168.1.5"), Local: netip.MustParseAddrPort("192.168.1.1:22"), Link: "ens34"}
	toWANAddr := part.Session{Peer: at("192.168.1.5"), Local: netip.MustParseAddrPort("198.51.100.50:22"), Link: "ens34"}
	fromVPN := part.Session{Peer: at("10.8.0.2"), Local: netip.MustParseAddrPort("10.8.0.1:22"), Link: "wg0"}
	unknown := part.Session{Peer: at("203.0.113.9"), Local: netip.MustParseAddrPort("198.51.100.50:22")}
	six := part.Session{Peer: at("2001:db8::1"), Local: netip.MustParseAddrPort("[2001:db8::50]:22"), Link: "ens33"}
	const (
		open    = "firewall: {wan_allow: [ssh]}\nextensions:"
		byPort  = "firewall: {wan_allow: [22/tcp]}\nextensions:"
		trusted = "firewall: {wan_allow: [ssh], trusted: ['wg*']}\nextensions:"
		off     = "firewall: {enabled: false}\nextensions:"
		closed  = "extensions:"
		write   = "write firewall.wan_allow: [ssh]"
	)
	for name, c := range map[string]struct {
		now, next string
		edit      []string
		session   part.Session
		want      string // empty: nobody is
	}{
		"closed":                 {now: open, next: closed, session: fromWAN, want: write},
		"closed, IPv6":           {now: open, next: closed, session: six, want: write},
		"closed, way unknown":    {now: open, next: closed, session: unknown, want: write},
		"was open by the port":   {now: byPort, next: closed, session: fromWAN, want: write},
		"switched on":            {now: off, next: closed, session: fromWAN, want: write},
		"switched on, open":      {now: off, next: open, session: fromWAN},
		"switched off":           {now: open, next: off, session: fromWAN},
		"stays open":             {now: open, next: byPort, session: fromWAN},
		"was closed before":      {now: closed, next: closed, session: fromWAN},
		"from the LAN":           {now: open, next: closed, session: fromLAN},
		"LAN to the WAN's":       {now: open, next: closed, session: toWANAddr},
		"a VPN is closed":        {now: trusted, next: open, session: fromVPN},
		"and SSH with it":        {now: trusted, next: closed, session: fromVPN, want: write},
		"still trusted":          {now: trusted, next: "firewall: {trusted: [wg0]}\nextensions:", session: fromVPN},
		"the LAN's card is lost": {now: open, next: closed, edit: []string{"ens34", "ens35"}, session: fromLAN, want: write},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{SSHPorts: []uint16{22}}
			now := Desired(parttest.Config(t, "extensions:", c.now), f, "/state")
			next := Desired(parttest.Config(t, append(c.edit, "extensions:", c.next)...), f, "/state")
			got := locksOut(now, next, c.session)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
