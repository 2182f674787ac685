package provisioning

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

func TestDesiredPhones(t *testing.T) {
	p := Desired(parttest.Config(t), map[string]string{adminSecret: "made-admin", config.SecretName("100"): "made-100"}, Facts{TimeServer: true})
	want := []yealink.Account{
		{Number: "100", Name: "Alice", Secret: "made-100", Voicemail: p.Extensions[0].Voicemail},
		{Number: "101", Name: "101", Secret: "correct-horse-battery", Voicemail: p.Extensions[1].Voicemail},
	}
	if diff := cmp.Diff(want, p.Extensions); diff != "" {
		t.Error(diff)
	}
	if p.Site.AdminPassword != "made-admin" || p.Site.Server.String() != "192.168.1.1" || p.Site.Port != 5060 || p.Site.ResyncBegin != "02:00" ||
		p.Site.PhonebookURL != "http://192.168.1.1:9303/phonebook.xml" || len(p.Site.NTP) != 1 || p.Site.Zone.String() != "Europe/Paris" {
		t.Errorf("site: %+v", p.Site)
	}
}

// Which stations count besides a phone's own.
func TestDesiredStations(t *testing.T) {
	c := parttest.Config(t, "lan: {", "provisioning: {via: [\"02:00:00:00:00:77\"]}\nlan: {",
		`extension: "100"}]`, `extension: "100", also: ["80:5e:c0:00:00:01"]}]`)
	p := Desired(c, nil, Facts{})
	if got := fmt.Sprint(p.Phones[0].Also, p.Via, p.NoLeases); got != "[80:5e:c0:00:00:01] [02:00:00:00:00:77] false" {
		t.Error(got)
	}
	if p := Desired(parttest.Config(t, "dhcp:\n", "dhcp:\n  enabled: false\n"), nil, Facts{}); !p.NoLeases {
		t.Error("another server gives the addresses, and leases are asked for")
	}
}

func TestBelowURL(t *testing.T) {
	for _, c := range [][3]string{
		{"tftp://192.168.1.1", "ring.wav", "ring.wav"}, {"tftp://192.168.1.1", "/fw/x.rom", "fw/x.rom"},
		{"http://192.168.1.1:9303/phones/", "phones/ring.wav", "ring.wav"}, {"http://192.168.1.1:9303/phones", "ring.wav", "ring.wav"},
	} {
		if got := belowURL(c[0], c[1]); got != c[2] {
			t.Errorf("%s %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// A phone's file has a new secret only when the exchange has it.
func TestSecretFollowsExchange(t *testing.T) {
	c := parttest.Config(t)
	secretOf100 := func(f Facts) string {
		return Desired(c, map[string]string{"extension/100": "new-secret"}, f).Extensions[0].Secret
	}
	for want, known := range map[string]map[string]string{"new-secret": nil, "old-secret": {"100": "old-secret"}} {
		if got := secretOf100(Facts{InExchange: known}); got != want {
			t.Errorf("the exchange has %v: the file has %s, want %s", known, got, want)
		}
	}
	if got := secretOf100(Facts{InExchange: map[string]string{"101": "x"}}); got != "new-secret" {
		t.Errorf("the exchange does not have the extension: %s", got)
	}
}
