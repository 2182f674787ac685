package freepbx

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/pbx/pbxtest"
)

// Whatever name and secret 'sae-agent check' accepts reaches Asterisk whole, although FreePBX escapes nothing. All at once,
// and nothing is left to do afterwards.
func testWhatIsAcceptedArrives(t *testing.T, p *pbxHere) {
	want := pbxtest.Extensions(t, config.DriverFreePBX, 12)
	if r := p.apply(false, want...); len(r.problems) > 0 {
		t.Errorf("problems: %+v", r.problems)
	}
	accounts, err := p.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	manager := p.manager()
	for _, e := range want {
		if !accounts[e.Number].Takes(e.Secret) {
			t.Errorf("secret %q of %s: Asterisk runs with another one", e.Secret.Reveal(), e.Number)
		}
		if got := p.found(e.Number); got.User["name"] != plainName(e.Name) || got.SIP["secret"] != e.Secret.Reveal() {
			t.Errorf("%s: FreePBX has name %q and secret %q, not %q and %q", e.Number, got.User["name"], got.SIP["secret"], e.Name, e.Secret.Reveal())
		}
		details, err := manager.List(t.Context(), ami.NewAction("PJSIPShowEndpoint", "Endpoint", e.Number))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(details, func(m ami.Message) bool { return m.Event() == "EndpointDetail" })
		if i < 0 {
			t.Fatalf("endpoint %s: %v", e.Number, details)
		}
		id := details[i].Get("Callerid")
		if want := fmt.Sprintf(`"%s" <%s>`, strings.ReplaceAll(plainName(e.Name), `"`, `\"`), e.Number); id != want {
			t.Errorf("name %q of %s: its caller ID is %s", e.Name, e.Number, id)
		}
	}
	p.calls()
	if r := p.apply(false, want...); r.changed() || p.calls() != "" {
		t.Errorf("the second time: %+v", r)
	}
}
