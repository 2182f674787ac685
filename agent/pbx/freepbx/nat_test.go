package freepbx

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// An ordinary installation tells phones of the LAN its outside address, until the LAN is a local network and Asterisk was
// started since.
func testLocalNetwork(t *testing.T, p *pbxHere) {
	want := pbx.Desired{ManagerUser: "sae-agent", ManagerSecret: "correct-horse", Extensions: []pbx.Extension{alice, bob}, LAN: netip.MustParsePrefix("192.168.1.1/24")}
	if in := p.driver.Inspect(t.Context(), want); len(in.Problems) != 1 || !strings.Contains(in.Problems[0].What, "tells phones 203.0.113.9") || in.RestartDue != "" {
		t.Errorf("before: %+v", in)
	}
	p.api.refuse = true
	if _, err := p.driver.Apply(t.Context(), want); err == nil || !strings.Contains(err.Error(), "add 192.168.1.0/24 under Settings, Asterisk SIP Settings") {
		t.Errorf("FreePBX says that it was done, and it was not: %v", err)
	}
	if got := p.mediaAddress(); got != "203.0.113.9" {
		t.Errorf("a phone in a call sends to %s", got)
	}
	p.api.refuse = false
	p.calls()
	changes, err := p.driver.Apply(t.Context(), want)
	if err != nil || len(changes) != 1 || changes[0].String() != "pbx: add local network 192.168.1.0/24" || p.calls() != "reload" {
		t.Errorf("Apply() = %v, %v", changes, err)
	}
	if in := p.driver.Inspect(t.Context(), want); len(in.Problems) != 0 || in.RestartDue == "" {
		t.Errorf("after: %+v", in)
	}
	p.booted = p.clock.Add(time.Second)
	if in := p.driver.Inspect(t.Context(), want); len(in.Problems) != 0 || in.RestartDue != "" {
		t.Errorf("after a restart: %+v", in)
	}
	if changes, err := p.driver.Apply(t.Context(), want); err != nil || len(changes) != 0 || p.calls() != "" {
		t.Errorf("again: %v, %v", changes, err)
	}
	// What an admin has made stays, and is named.
	p.exec("UPDATE kvstore_Sipsettings SET val = ? WHERE `key` = 'localnets'", `[{"net":"10.0.0.0","mask":"255.0.0.0"}]`)
	if changes, err := p.driver.Apply(t.Context(), want); err != nil || len(changes) != 0 {
		t.Errorf("an admin's list: %v, %v", changes, err)
	}
	if in := p.driver.Inspect(t.Context(), want); len(in.Problems) != 1 {
		t.Errorf("an admin's list: %+v", in)
	}
}

// mediaAddress is where a phone that calls another sends its voice.
func (p *pbxHere) mediaAddress() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	from, to := p.phone("100", alice.Secret.Reveal(), 440), p.phone("101", bob.Secret.Reveal(), 1000)
	if err := errors.Join(from.Register(ctx, time.Minute), to.Register(ctx, time.Minute)); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		if in, err := to.Ringing(ctx); err == nil {
			_, _ = in.Answer(ctx)
		}
	}()
	call, err := from.Call(ctx, "101")
	if err != nil {
		p.t.Fatal(err)
	}
	defer call.HangUp(ctx)
	return call.Media().String()
}

func TestNATTrouble(t *testing.T) {
	lan := netip.MustParsePrefix("192.168.1.1/24")
	for _, c := range []struct {
		nat  NAT
		want string
	}{
		{NAT{}, ""},
		{NAT{"203.0.113.9", []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}}, ""},
		{NAT{"pbx.example.org", []netip.Prefix{lan.Masked()}}, ""},
		{NAT{"203.0.113.9", []netip.Prefix{netip.MustParsePrefix("192.168.1.0/25")}}, "no local network"},
		{NAT{"file_get_contents(): php_network_getaddresses failed", []netip.Prefix{lan.Masked()}}, "is none"},
		{NAT{"<html>", []netip.Prefix{lan.Masked()}}, "is none"}, {NAT{"0.0.0.0", []netip.Prefix{lan.Masked()}}, "is none"},
		{NAT{"203.0.113", []netip.Prefix{lan.Masked()}}, "is none"},
	} {
		if got := c.nat.trouble(lan); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", c.nat, got, c.want)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	got := parseNetworks(`[{"net":"192.168.1.7","mask":"24"},{"net":"10.0.0.0","mask":"255.255.0.0"},{"net":"172.16.0.0","mask":12},{"net":"","mask":""},{"net":"x","mask":"24"},{"net":"10.1.0.0","mask":"33"}]`)
	want := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("172.16.0.0/12")}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := parseNetworks("no JSON"); got != nil {
		t.Errorf("%v", got)
	}
}
