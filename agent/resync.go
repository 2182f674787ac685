package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

const (
	resyncEvery = 2 * time.Second
	// resyncPause spreads the fetches of many phones.
	resyncPause = 20 * time.Millisecond
	// resyncTime is how long a phone whose file has changed is waited for, to be registered and not in a call. It
	// fetches its file at its next start anyway.
	resyncTime = time.Hour
	resyncPoll = 100 * time.Millisecond
	maxResync  = 5 * time.Minute
)

// resyncs are the phones whose files have changed and that were not told yet.
type resyncs struct {
	mu   sync.Mutex           // guards the following
	due  map[string]time.Time // since when, by MAC
	wake chan struct{}        // holds one token when there are new ones
}

func newResyncs() *resyncs {
	return &resyncs{due: make(map[string]time.Time), wake: make(chan struct{}, 1)}
}

// add notes phones whose files have changed just now.
func (r *resyncs) add(macs []net.HardwareAddr) {
	if len(macs) == 0 {
		return
	}
	r.mu.Lock()
	for _, mac := range macs {
		r.due[mac.String()] = time.Now()
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// list returns the phones that are due, without those that have waited too long.
func (r *resyncs) list(now time.Time) map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]time.Time, len(r.due))
	for mac, since := range r.due {
		if now.Sub(since) > resyncTime {
			delete(r.due, mac)
			continue
		}
		out[mac] = since
	}
	return out
}

// done forgets a phone, unless its file has changed once more since.
func (r *resyncs) done(mac string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due[mac].Equal(since) {
		delete(r.due, mac)
	}
}

// followResyncs tells phones that their files have changed, until ctx ends.
func (a *Agent) followResyncs(ctx context.Context) {
	for {
		wait := time.After(resyncEvery)
		if len(a.resyncs.list(time.Now())) == 0 {
			wait = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-a.resyncs.wake:
		case <-wait:
		}
		a.tellChanged(ctx)
	}
}

// tellChanged asks those phones that are due, registered and not in a call to fetch their files.
func (a *Agent) tellChanged(ctx context.Context) {
	r := a.pbx.Load()
	if r == nil {
		return
	}
	due, lines := a.resyncs.list(time.Now()), r.State().Lines
	for _, p := range a.phoneList() {
		since, ok := due[p.MAC.String()]
		switch {
		case !ok:
			continue
		case p.LastFetch.After(since): // by itself
			a.resyncs.done(p.MAC.String(), since)
			continue
		case p.State != stateRegistered || lines[p.Extension].InCall:
			continue
		}
		if err := r.Resync(ctx, p.Extension); err != nil {
			a.log.Warn("cannot ask a phone to fetch its file", "mac", p.MAC.String(), "extension", p.Extension, "err", err)
			continue // tried again
		}
		a.log.Info("asked a phone to fetch its file, which has changed", "mac", p.MAC.String(), "extension", p.Extension)
		a.resyncs.done(p.MAC.String(), since)
		select {
		case <-ctx.Done():
			return
		case <-time.After(resyncPause):
		}
	}
}

// ResyncPhones answers control.ResyncPhones. It is done for a phone only when that has fetched its file.
func (a *Agent) ResyncPhones(ctx context.Context, o control.ResyncOptions) ([]control.Resync, error) {
	r := a.pbx.Load()
	if r == nil {
		return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "phones are asked through the exchange, which is not watched here (pbx.driver): see sae-agent pbx status"}
	}
	if o.Wait < 0 || o.Wait > maxResync {
		return nil, &control.Error{Code: http.StatusUnprocessableEntity, Message: fmt.Sprintf("phones are waited for %v at most", maxResync)}
	}
	chosen, err := a.phonesToResync(o.MAC)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	out := make([]control.Resync, 0, len(chosen))
	waiting := 0
	for _, p := range chosen {
		res := a.askPhone(ctx, r.Service, p)
		if res.State == control.ResyncSilent {
			waiting++
		}
		out = append(out, res)
	}
	deadline := time.After(o.Wait)
	for waiting > 0 {
		waiting = a.fetched(out, chosen, asked)
		if waiting == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-deadline:
			return out, nil
		case <-time.After(resyncPoll):
		}
	}
	return out, nil
}

// phonesToResync finds one phone, or all that have an extension.
func (a *Agent) phonesToResync(mac string) ([]phoneView, error) {
	if mac == "" {
		var out []phoneView
		for _, p := range a.phoneList() {
			if p.Extension != "" {
				out = append(out, p)
			}
		}
		return out, nil
	}
	p, err := a.phone(mac)
	if err != nil {
		return nil, err
	}
	return []phoneView{p}, nil
}

// askPhone asks one phone. A phone that was asked is silent until it has fetched.
func (a *Agent) askPhone(ctx context.Context, s *pbx.Service, p phoneView) control.Resync {
	res := control.Resync{MAC: p.MAC.String(), Extension: p.Extension, State: control.ResyncSilent}
	if p.State != stateRegistered {
		res.State, res.Detail = control.ResyncNotRegistered, "it fetches its file when it starts"
		if p.trouble != "" {
			res.Detail = p.trouble
		}
		return res
	}
	if err := s.Resync(ctx, p.Extension); err != nil {
		res.State, res.Detail = control.ResyncFailed, err.Error()
		return res
	}
	res.Detail = "it was asked and has not fetched its file yet"
	return res
}

// fetched marks the phones that have fetched since they were asked, and counts the others that were.
func (a *Agent) fetched(out []control.Resync, chosen []phoneView, asked time.Time) (waiting int) {
	for i, p := range chosen {
		if out[i].State != control.ResyncSilent {
			continue
		}
		if now, err := a.phones.Get(p.MAC); err == nil && now.LastFetch.After(asked) {
			out[i].State, out[i].Detail = control.ResyncDone, ""
			continue
		}
		waiting++
	}
	return waiting
}
