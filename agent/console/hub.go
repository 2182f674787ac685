package console

import (
	"context"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
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
	mu      sync.Mutex // guards the following
	changed chan struct{}
}

func newHub() *hub { return &hub{changed: make(chan struct{})} }

// next is closed at the next change.
func (h *hub) next() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *hub) broadcast() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

// run follows what the daemon logs until ctx ends.
func (h *hub) run(ctx context.Context, d *control.Dispatcher) {
	happened := make(chan struct{}, 1)
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		for ctx.Err() == nil {
			_ = control.AskStream(ctx, d, control.Caller{Name: "console", Role: control.Viewer}, control.ReadLogs, control.LogsRequest{Follow: true},
				func(events.Event) error {
					select {
					case happened <- struct{}{}:
					default:
					}
					return nil
				})
			wait(ctx, time.Second) // it has ended: nobody answers yet
		}
	})
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-happened:
			wait(ctx, settle)
		case <-tick.C:
		}
		h.broadcast()
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
