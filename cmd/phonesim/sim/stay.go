package sim

import (
	"context"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

// stay keeps the phones on until ctx ends.
func (f *Fleet) stay(ctx context.Context) {
	var staying sync.WaitGroup
	defer staying.Wait()
	for _, h := range f.handsets {
		if h.line != nil {
			staying.Go(func() { h.stay(ctx) })
		}
	}
	<-ctx.Done()
}

// stay registers the line again and again, answers calls, and fetches the files again
// when the server asks for it, as a phone does that lies on a desk.
func (h *handset) stay(ctx context.Context) {
	refresh := time.NewTicker(expires / 2)
	defer refresh.Stop()
	var answering sync.WaitGroup
	defer answering.Wait()
	for line := (*sipcall.Phone)(nil); ; {
		if h.line != nil && h.line != line {
			line = h.line
			answering.Go(func() { answer(ctx, line) })
		}
		var state State
		var err error
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			state, err = h.refresh(ctx)
		case reboot := <-h.notified:
			h.update(func(r *Result) { r.Files = []File{} })
			state, err = h.sync(ctx, reboot)
		}
		if ctx.Err() == nil {
			h.update(func(r *Result) {
				r.State, r.Error = state, ""
				if err != nil {
					r.State, r.Error = Failed, err.Error()
				}
			})
		}
	}
}

// sync does what Yealink's sip.notify_reboot_enable says: 0 restarts only for reboot=true, 1, the default, in any case,
// and with 2 nothing happens.
func (h *handset) sync(ctx context.Context, reboot bool) (State, error) {
	switch h.settings["sip.notify_reboot_enable"] {
	case "0":
	case "2":
		return h.now.Load().State, nil
	default:
		reboot = true
	}
	if !reboot {
		return h.configure(ctx)
	}
	h.close()
	h.line, h.web, h.account = nil, nil, account{}
	return h.boot(ctx)
}

// answer takes calls of a line, one after the other, until it is switched off.
func answer(ctx context.Context, line *sipcall.Phone) {
	for {
		in, err := line.Ringing(ctx)
		if err != nil {
			return
		}
		c, err := in.Answer(ctx)
		if err != nil {
			continue // the caller was faster
		}
		select {
		case <-c.Done():
		case <-ctx.Done():
		}
		_ = c.HangUp(ctx) // there is nobody to tell
	}
}

// refresh registers the line again before the registration ends.
func (h *handset) refresh(ctx context.Context) (State, error) {
	if h.line == nil { // it was lost when the files changed
		return h.configure(ctx)
	}
	return Registered, h.line.Register(ctx, expires)
}
