package agent

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/control"
)

// glanceEvery is how old the status may be that /metrics shows.
const glanceEvery = 5 * time.Second

// glance is the status as it was not long ago, for whoever must not wait for a part.
type glance struct {
	control.Status
	at   time.Time
	disk disk
}

// disk is the file system that holds the state, in bytes.
type disk struct{ size, free uint64 }

func diskOf(path string) disk {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return disk{} // the state folder is gone; more than this metric says so
	}
	return disk{size: st.Blocks * uint64(st.Bsize), free: st.Bavail * uint64(st.Bsize)}
}

// watchStatus takes a glance now and then, until ctx ends. If a part keeps Status
// waiting, the glance grows old and the metrics say so.
func (a *Agent) watchStatus(ctx context.Context) {
	tick := time.NewTicker(glanceEvery)
	defer tick.Stop()
	for {
		if st, err := a.Status(ctx); err == nil {
			a.glance.Store(&glance{st, time.Now(), diskOf(a.opts.StateDir)})
		}
		a.story.Forget(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
