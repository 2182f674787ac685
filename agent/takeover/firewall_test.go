package takeover

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What 'fwconsole firewall list' prints, after FreePBX's source.
const trustedZone = "All entries in zone 'trusted':\n\t203.0.113.7/32\n\t192.168.1.0/24\n\t2001:db8::/48\n\tnot an address\n"

func TestFirewallIsTakenOverAndGivenBack(t *testing.T) {
	var asked []string
	fwconsole := func(_ context.Context, words ...string) (string, error) {
		asked = append(asked, strings.Join(words, " "))
		if words[0] == "list" && words[1] == "trusted" {
			return trustedZone, nil
		}
		return "", nil
	}
	f, err := SurveyFirewall(t.Context(), fwconsole, netip.MustParsePrefix("192.168.1.0/24"))
	if err != nil || !f.Active || !slices.Equal(f.Friends, []string{"2001:db8::/48", "203.0.113.7"}) {
		t.Fatalf("%+v, %v", f, err)
	}
	steps := Plan(Machine{Firewall: f})
	if len(steps) != 1 || !strings.Contains(steps[0].String(), "disable FreePBX's own firewall: ") || !strings.Contains(steps[0].String(), "{allow: [2001:db8::/48, 203.0.113.7]}") {
		t.Fatalf("%v", steps)
	}
	take := Takeover{System: new(fake), Root: t.TempDir(), Record: filepath.Join(t.TempDir(), "done.json"), Fwconsole: fwconsole}
	if err := errors.Join(take.Do(t.Context(), steps), take.Undo(t.Context())); err != nil {
		t.Fatal(err)
	}
	if want := []string{"list trusted", "list internal", "disable", "start"}; !slices.Equal(asked, want) {
		t.Errorf("fwconsole was asked %q, want %q", asked, want)
	}
	broken := errors.New("no database")
	_, err = SurveyFirewall(t.Context(), func(context.Context, ...string) (string, error) { return "", broken }, netip.Prefix{})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
