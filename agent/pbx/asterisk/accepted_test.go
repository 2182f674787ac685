package asterisk

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/pbx/pbxtest"
)

// Whatever name and secret is accepted reaches Asterisk: it takes the whole secret, and
// calls by the name and names the mailbox so, but for the few signs that have others in their place (plainName).
func TestWhatIsAcceptedArrives(t *testing.T) {
	x := newExchange(t, nil)
	x.server.Start()
	want := site()
	want.Groups, want.Gateway = nil, nil
	want.Extensions = pbxtest.Extensions(t, config.DriverAsterisk, 100)
	x.apply(t, want)
	accounts, err := pbx.Accounts(t.Context(), x.manager)
	if err != nil {
		t.Fatal(err)
	}
	mailboxes := strings.Split(x.server.CLI("voicemail show users for sae"), "\n")
	for _, e := range want.Extensions {
		if got := accounts[e.Number]; !got.Takes(e.Secret) || !got.Registers {
			t.Errorf("secret %q of %s: Asterisk runs with %q", e.Secret.Reveal(), e.Number, revealed(got.Secrets))
		}
		endpoint, err := x.manager.List(t.Context(), ami.NewAction("PJSIPShowEndpoint", "Endpoint", e.Number))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(endpoint, func(m ami.Message) bool { return m.Event() == "EndpointDetail" })
		if i < 0 {
			t.Fatalf("endpoint %s: %v", e.Number, endpoint)
		}
		callerID := fmt.Sprintf("\"%s\" <%s>", plainName(e.Name), e.Number)
		if plainName(e.Name) == "" { // such as "|"
			callerID = e.Number
		}
		if id := endpoint[i].Get("Callerid"); id != callerID {
			t.Errorf("name %q of %s: its caller ID is %s", e.Name, e.Number, id)
		}
		i = slices.IndexFunc(mailboxes, func(line string) bool {
			words := strings.Fields(line)
			return len(words) > 1 && words[0] == mailboxContext && words[1] == e.Number
		})
		if (i >= 0) != e.Voicemail {
			t.Errorf("%s has a mailbox: %v", e.Number, i >= 0)
		} else if i >= 0 && !strings.Contains(mailboxes[i], " "+plainName(e.Name)+" ") {
			t.Errorf("name %q of %s: its mailbox is %s", e.Name, e.Number, mailboxes[i])
		}
	}
	x.quiet(t, want)
}

func revealed(secrets []pbx.Secret) (out []string) {
	for _, s := range secrets {
		out = append(out, s.Reveal())
	}
	return out
}
