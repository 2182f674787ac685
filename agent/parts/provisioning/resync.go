package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/internal/pause"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	resyncEvery = 2 * time.Second
	// resyncPause spreads the fetches of many phones: 1,000 are asked within some seconds.
	resyncPause = 5 * time.Millisecond
	// gapTime is how long a phone may be without the secret that the exchange takes already, before that is a warning.
	gapTime = 10 * time.Second
	// changesShown is how many changes are remembered for who asks.
	changesShown = 100
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
	away map[string]time.Time // those that were not registered when it was their turn, by MAC, with their time in due
	wake signal.Signal        // there are new ones

	noted   map[string]time.Time      // changes of the exchange whose end at a phone is known, by MAC
	changes []control.ExtensionChange // the latest last
}

func newResyncs() *resyncs {
	return &resyncs{due: make(map[string]time.Time), away: make(map[string]time.Time), wake: signal.New(), noted: make(map[string]time.Time)}
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
	r.wake.Notify()
}

// list returns the phones that are due, without those that have waited too long.
func (r *resyncs) list(now time.Time) map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]time.Time, len(r.due))
	for mac, since := range r.due {
		if now.Sub(since) > resyncTime {
			delete(r.due, mac)
			delete(r.away, mac)
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
		delete(r.away, mac)
	}
}

// isAway notes that a phone that is due is not registered: it is not the change that keeps it from telephoning.
func (r *resyncs) isAway(mac string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away[mac] = since
}

// note keeps how long it took from a change of the exchange until a phone was asked to follow, or had followed by itself.
// It reports false for a change that is known already, and for a phone that was away.
func (r *resyncs) note(mac, extension string, since, changed, end time.Time) (c control.ExtensionChange, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if changed.IsZero() || r.noted[mac].Equal(changed) || r.away[mac].Equal(since) {
		return c, false
	}
	r.noted[mac] = changed
	c = control.ExtensionChange{Number: extension, MAC: mac, At: end, Took: end.Sub(changed)}
	r.changes = append(r.changes, c)
	r.changes = r.changes[max(0, len(r.changes)-changesShown):]
	return c, true
}

// Changes are the last changes of secrets that have reached a phone, the latest last.
func (p *Part) Changes() []control.ExtensionChange {
	p.resyncs.mu.Lock()
	defer p.resyncs.mu.Unlock()
	return slices.Clone(p.resyncs.changes)
}

// noteChange says how long a phone could not have registered after the exchange had taken a new secret.
func (p *Part) noteChange(mac, extension string, since, changed, end time.Time) {
	c, ok := p.resyncs.note(mac, extension, since, changed, end)
	if !ok {
		return
	}
	level := slog.LevelInfo
	if c.Took > gapTime {
		level = slog.LevelWarn // it could not register so long
	}
	p.log.Log(context.Background(), level, "extension changed at the exchange and its phone", "extension", extension, "mac", mac, "took", c.Took.Round(time.Millisecond))
}

// followResyncs tells phones that their files have changed, until ctx ends.
func (p *Part) followResyncs(ctx context.Context) error {
	for {
		wait := time.After(resyncEvery)
		if len(p.resyncs.list(time.Now())) == 0 {
			wait = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.resyncs.wake.C():
		case <-wait:
		}
		p.askChanged(ctx)
	}
}

// askChanged asks those phones that are due, registered and not in a call to fetch their files.
func (p *Part) askChanged(ctx context.Context) {
	exchange, watched := p.deps.Exchange.State()
	if !watched {
		return
	}
	due, lines, changed := p.resyncs.list(time.Now()), exchange.Lines, exchange.Changed
	for v := range p.All() {
		mac := v.MAC.String()
		since, ok := due[mac]
		switch {
		case !ok:
			continue
		case v.LastFetch.After(since): // by itself
			p.noteChange(mac, v.Extension, since, changed[v.Extension], v.LastFetch)
			p.resyncs.done(mac, since)
			continue
		case v.State != StateRegistered:
			p.resyncs.isAway(mac, since)
			continue
		case lines[v.Extension].InCall:
			continue
		}
		if err := p.deps.Exchange.Resync(ctx, v.Extension); err != nil {
			p.log.Warn("cannot ask a phone to fetch its file", "mac", mac, "extension", v.Extension, "err", err)
			continue // tried again
		}
		p.log.Info("asked a phone to fetch its file, which has changed", "mac", mac, "extension", v.Extension)
		p.noteChange(mac, v.Extension, since, changed[v.Extension], time.Now())
		p.resyncs.done(mac, since)
		if !pause.For(ctx, resyncPause) {
			return
		}
	}
}

// resync answers control.ResyncPhones.
func (p *Part) resync(ctx context.Context, o control.ResyncOptions) ([]control.Resync, error) {
	return p.checkSync(ctx, o, p.deps.Exchange.Resync)
}

// restart answers control.RestartPhones. Whoever telephones is left alone.
func (p *Part) restart(ctx context.Context, o control.ResyncOptions) ([]control.Resync, error) {
	exchange, _ := p.deps.Exchange.State()
	return p.checkSync(ctx, o, func(ctx context.Context, number string) error {
		if exchange.Lines[number].InCall {
			return errInCall
		}
		return p.deps.Exchange.Reboot(ctx, number)
	})
}

var errInCall = errors.New("it is in a call: try again after it")

// checkSync asks phones, by ask, for what ends with fetching their files. It is done for a phone only when that was
// seen.
func (p *Part) checkSync(ctx context.Context, o control.ResyncOptions, ask func(ctx context.Context, number string) error) ([]control.Resync, error) {
	if _, watched := p.deps.Exchange.State(); !watched {
		return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "phones are asked through the exchange, which is not watched here (pbx.driver): see sae-agent pbx status"}
	}
	if o.Wait < 0 || o.Wait > maxResync {
		return nil, &control.Error{Code: http.StatusUnprocessableEntity, Message: fmt.Sprintf("phones are waited for %v at most", maxResync)}
	}
	chosen, err := p.phonesToResync(o.MAC)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	out := make([]control.Resync, 0, len(chosen))
	waiting := 0
	for _, v := range chosen {
		res := askPhone(ctx, v, ask)
		switch {
		case res.State != control.ResyncSilent:
		case o.Wait == 0:
			res.State, res.Detail = control.ResyncAsked, ""
		default:
			waiting++
		}
		out = append(out, res)
	}
	if o.Wait == 0 {
		return out, nil
	}
	deadline := time.After(o.Wait)
	for waiting > 0 {
		waiting = p.fetched(out, chosen, asked)
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
func (p *Part) phonesToResync(mac string) ([]View, error) {
	if mac == "" {
		var out []View
		for v := range p.All() {
			if v.Extension != "" {
				out = append(out, v)
			}
		}
		return out, nil
	}
	v, err := p.phone(mac)
	if err != nil {
		return nil, err
	}
	return []View{v}, nil
}

// askPhone asks one phone. A phone that was asked is silent until it has fetched.
func askPhone(ctx context.Context, v View, ask func(ctx context.Context, number string) error) control.Resync {
	res := control.Resync{MAC: v.MAC.String(), Extension: v.Extension, State: control.ResyncSilent}
	if v.State != StateRegistered {
		res.State, res.Detail = control.ResyncNotRegistered, "it fetches its file when it starts"
		if v.Trouble != "" {
			res.Detail = v.Trouble
		}
		return res
	}
	if err := ask(ctx, v.Extension); err != nil {
		res.State, res.Detail = control.ResyncFailed, err.Error()
		return res
	}
	res.Detail = "it was asked and has not fetched its file yet"
	return res
}

// fetched marks the phones that have fetched since they were asked, and counts the others that were.
func (p *Part) fetched(out []control.Resync, chosen []View, asked time.Time) (waiting int) {
	for i, v := range chosen {
		if out[i].State != control.ResyncSilent {
			continue
		}
		if now, err := p.phones.Get(v.MAC); err == nil && now.LastFetch.After(asked) {
			out[i].State, out[i].Detail = control.ResyncDone, ""
			continue
		}
		waiting++
	}
	return waiting
}
