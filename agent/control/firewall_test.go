package control

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (f *fake) Firewall(context.Context) (Firewall, error) {
	return Firewall{Active: true, Rules: "table"}, f.err
}
func (f *fake) FirewallTest(_ context.Context, q FirewallQuestion) (FirewallAnswer, error) {
	return FirewallAnswer{Zone: q.From, Why: q.Protocol}, f.err
}
func (f *fake) Bans(context.Context) ([]Ban, error) { return []Ban{{Address: "203.0.113.9"}}, f.err }
func (f *fake) AddBan(_ context.Context, b Ban) (Ban, error) {
	b.Times = 1
	return b, f.err
}
func (f *fake) RemoveBans(_ context.Context, r BanRemoval) (BanRemoved, error) {
	if r.All {
		return BanRemoved{[]string{"203.0.113.9", "2001:db8::"}}, f.err
	}
	return BanRemoved{[]string{r.Address}}, f.err
}

func TestFirewallQuestions(t *testing.T) {
	c := start(t, t.TempDir(), &fake{}, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	same := func(what string, want, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", what, err, diff)
		}
	}
	show, err := c.Firewall(ctx)
	same("show", Firewall{Active: true, Rules: "table"}, show, err)
	answer, err := c.FirewallTest(ctx, FirewallQuestion{From: "wan", Protocol: "tcp", Port: 22})
	same("test", FirewallAnswer{Zone: "wan", Why: "tcp"}, answer, err)
	bans, err := c.Bans(ctx)
	same("bans", []Ban{{Address: "203.0.113.9"}}, bans, err)
	ban := Ban{Address: "2001:db8::1", Jail: "sshd", Duration: time.Hour}
	added, err := c.AddBan(ctx, ban)
	ban.Times = 1
	same("add", ban, added, err)
	removed, err := c.RemoveBans(ctx, BanRemoval{Address: "203.0.113.9"})
	same("remove", BanRemoved{[]string{"203.0.113.9"}}, removed, err)
	removed, err = c.RemoveBans(ctx, BanRemoval{All: true})
	same("remove all", BanRemoved{[]string{"203.0.113.9", "2001:db8::"}}, removed, err)
}
