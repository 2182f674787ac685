package doctor

import (
	"context"
	"errors"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
)

// The daemon's server searches, and its answer is part of the daemon's status; it is not asked where another server is
// meant to serve.
func TestDaemonSearchesForRivals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		answer error
		asked  bool
	}{
		"serves":         {func(*config.Config) {}, nil, true},
		"search fails":   {func(*config.Config) {}, errors.New("no"), true},
		"another serves": {func(c *config.Config) { c.DHCP.Enabled = false }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, asked := healthy(t), false
			c.change(f.Config)
			f = SearchDHCP(t.Context(), f, func(context.Context) error { asked = true; return c.answer })
			if asked != c.asked || len(f.Rivals) > 0 {
				t.Errorf("asked: %v, rivals: %v", asked, f.Rivals)
			}
		})
	}
}
