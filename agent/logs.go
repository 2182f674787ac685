package agent

import (
	"context"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
)

// remembered is how many events the daemon remembers at most: a boot of a thousand
// phones, several times over, in a few megabytes.
const remembered = 20000

// keepEvents has events kept as a configuration says.
func (a *Agent) keepEvents(c *config.Config) {
	a.events.Keep(c.Logs.Retention, c.Logs.PersonalData == config.PersonalOmit)
}

func (a *Agent) readLogs(ctx context.Context, r control.LogsRequest, emit func(events.Event) error) error {
	return a.events.Read(ctx, events.Filter{Part: r.Part, MAC: r.MAC, Extension: r.Extension}, r.Follow, emit)
}
