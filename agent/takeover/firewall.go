package takeover

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// StopFirewall disables FreePBX's own firewall (Sangoma Smart Firewall).
const StopFirewall Kind = "stop-firewall"

// Firewall is FreePBX's own firewall.
type Firewall struct {
	Active bool
	// Friends are what its zones trusted and internal have beside the LAN.
	Friends []string
}

// Fwconsole runs 'fwconsole firewall WORDS' and returns what it printed.
type Fwconsole func(ctx context.Context, words ...string) (string, error)

// RunFwconsole is the Fwconsole of this machine.
func RunFwconsole(ctx context.Context, words ...string) (string, error) {
	return output(ctx, "fwconsole firewall "+strings.Join(words, " "), "fwconsole", append([]string{"firewall"}, words...)...)
}

// SurveyFirewall asks FreePBX's firewall, which is active, whom it trusts.
func SurveyFirewall(ctx context.Context, ask Fwconsole, lan netip.Prefix) (Firewall, error) {
	f := Firewall{Active: true}
	for _, zone := range []string{"trusted", "internal"} {
		out, err := ask(ctx, "list", zone)
		if err != nil {
			return f, err
		}
		f.Friends = append(f.Friends, friends(out, lan)...)
	}
	slices.Sort(f.Friends)
	f.Friends = slices.Compact(f.Friends)
	return f, nil
}

// friends reads the entries of a zone, which stand on lines that begin with a tab.
// Those on the LAN need no mention.
func friends(listing string, lan netip.Prefix) (out []string) {
	for line := range strings.Lines(listing) {
		entry, ok := strings.CutPrefix(line, "\t")
		if !ok {
			continue
		}
		p, err := netip.ParsePrefix(strings.TrimSpace(entry))
		if err != nil || lan.Overlaps(p) {
			continue
		}
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.Masked().String())
		}
	}
	return out
}

func planFirewall(m Machine) []Step {
	if !m.Firewall.Active {
		return nil
	}
	why := "sae-agent filters, with limits for SIP as FreePBX's firewall has them"
	if len(m.Firewall.Friends) > 0 {
		why += "; whom it trusts goes into the configuration: firewall: {allow: [" + strings.Join(m.Firewall.Friends, ", ") + "]}"
	}
	return []Step{{Kind: StopFirewall, Why: why}}
}

// switchFirewall disables FreePBX's firewall, or starts it again.
func (t Takeover) switchFirewall(ctx context.Context, word string) error {
	_, err := t.Fwconsole(ctx, word)
	return err
}
