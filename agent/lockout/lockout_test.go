package lockout

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

// plain is a part that locks nobody out.
type plain struct{}

func (plain) Name() string       { return "plain" }
func (plain) Units() []part.Unit { return nil }

// gate is one that locks out whoever comes over a card.
type gate struct {
	plain
	card, why string
}

func (g gate) LocksOut(_ context.Context, _ part.Input, s part.Session) []string {
	if s.Link == g.card {
		return []string{g.why}
	}
	return nil
}

func TestCheck(t *testing.T) {
	parts := []part.Part{plain{}, gate{card: "ens33", why: "closed"}, gate{card: "ens33", why: "moved"}}
	outside := part.Session{Peer: netip.MustParseAddr("198.51.100.1"), Link: "ens33"}
	inside := part.Session{Peer: netip.MustParseAddr("192.168.1.5"), Link: "ens34"}
	for name, c := range map[string]struct {
		sessions []part.Session
		want     []string
	}{
		"nobody":          {nil, nil},
		"somebody inside": {[]part.Session{inside}, nil},
		"both": {[]part.Session{inside, outside}, []string{
			"the SSH session from 198.51.100.1: closed", "the SSH session from 198.51.100.1: moved",
		}},
	} {
		err := Check(t.Context(), parts, part.Input{}, c.sessions)
		var e *control.Error
		if errors.As(err, &e); (err == nil) != (len(c.want) == 0) || e != nil && !cmp.Equal(e.Details, c.want) {
			t.Errorf("%s: %#v, want %q", name, err, c.want)
		}
	}
}
