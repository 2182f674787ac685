package console

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/internal/pause"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// settle is how long changes are collected before pages hear of them.
	settle = 300 * time.Millisecond
	// refreshEvery has pages look again for what no event tells.
	refreshEvery = 15 * time.Second
)

// hub tells any number of open pages that something has happened. There is one reader
// of events for all of them.
type hub struct {
	changed signal.Broadcast
	last    atomic.Int64 // when it was notified, in nanoseconds since 1970
}

// notify has all pages look again.
func (h *hub) notify() {
	h.last.Store(time.Now().UnixNano())
	h.changed.Notify()
}

// run follows what the daemon logs until ctx ends.
func (h *hub) run(ctx context.Context, d *control.Dispatcher) {
	happened := signal.New()
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		for ctx.Err() == nil {
			_ = control.AskStream(ctx, d, control.Caller{Name: "console", Role: control.Viewer}, control.ReadLogs, control.LogsRequest{Follow: true},
				func(events.Event) error { happened.Notify(); return nil })
			pause.For(ctx, time.Second) // it has ended: nobody answers yet
		}
	})
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-happened.C():
			pause.For(ctx, settle)
		case <-tick.C:
		}
		h.notify()
	}
}
