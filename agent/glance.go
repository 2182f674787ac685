package agent

import (
	"context"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// glanceEvery is how old the status may be that /metrics shows.
const glanceEvery = 5 * time.Second

// glance is the status as it was not long ago, for whoever must not wait for a part.
type glance struct {
	control.Status
	at time.Time
}

// watchStatus takes a glance now and then, until ctx ends. If a part keeps Status
// waiting, the glance grows old and the metrics say so.
func (a *Agent) watchStatus(ctx context.Context) {
	tick := time.NewTicker(glanceEvery)
	defer tick.Stop()
	for {
		if st, err := a.Status(ctx); err == nil {
			a.glance.Store(&glance{st, time.Now()})
		}
		a.story.Forget(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
