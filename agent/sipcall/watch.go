package sipcall

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// State is what a busy lamp shows of a line.
type State string

// States, by their names in RFC 4235.
const (
	Idle    State = "terminated"
	Early   State = "early" // rings
	Talking State = "confirmed"
)

const (
	watchTime   = 600 // seconds
	watchStates = 64  // that wait to be looked at
)

// Watch is a busy lamp: a subscription to the state of a line (RFC 4235).
type Watch struct {
	phone  *Phone
	number string
	states chan State
	first  *sip.Request // the one that subscribed
	to     sip.Header   // with the tag of the exchange
}

// Watch subscribes to the state of a number. Stop it after use.
func (p *Phone) Watch(ctx context.Context, number string) (*Watch, error) {
	req := p.request(sip.SUBSCRIBE, p.address(number), p.address(number))
	w := &Watch{phone: p, number: number, states: make(chan State, watchStates), first: req}
	p.mu.Lock()
	p.watches[req.CallID().Value()] = w
	p.mu.Unlock()
	res, err := w.subscribe(ctx, req, watchTime)
	if err != nil {
		w.forget()
		return nil, fmt.Errorf("watch %s: %w", number, err)
	}
	w.to = sip.HeaderClone(res.To())
	return w, nil
}

func (w *Watch) subscribe(ctx context.Context, req *sip.Request, seconds int) (*sip.Response, error) {
	expires := sip.ExpiresHeader(seconds)
	for _, h := range []sip.Header{
		sip.NewHeader("Event", "dialog"), sip.NewHeader("Accept", "application/dialog-info+xml"), &expires, w.phone.contact.Clone(),
	} {
		req.AppendHeader(h)
	}
	res, err := w.phone.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	return res, refusal(res)
}

// Wait waits until the lamp has shown a state. States that it showed before are
// behind it then.
func (w *Watch) Wait(ctx context.Context, want State) error {
	last := State("nothing")
	for {
		select {
		case s := <-w.states:
			if s == want {
				return nil
			}
			last = s
		case <-ctx.Done():
			return fmt.Errorf("the lamp of %s shows %s, not %s: %w", w.number, last, want, context.Cause(ctx))
		}
	}
}

// Stop ends the subscription.
func (w *Watch) Stop(ctx context.Context) error {
	defer w.forget()
	req := w.phone.request(sip.SUBSCRIBE, w.first.Recipient, w.first.Recipient)
	req.ReplaceHeader(sip.HeaderClone(w.first.From()))
	req.ReplaceHeader(w.to)
	req.ReplaceHeader(sip.HeaderClone(w.first.CallID()))
	req.CSeq().SeqNo = w.first.CSeq().SeqNo + 1
	if _, err := w.subscribe(ctx, req, 0); err != nil {
		return fmt.Errorf("stop watching %s: %w", w.number, err)
	}
	return nil
}

func (w *Watch) forget() {
	w.phone.mu.Lock()
	defer w.phone.mu.Unlock()
	delete(w.phone.watches, w.first.CallID().Value())
}

func (p *Phone) onNotify(req *sip.Request, tx sip.ServerTransaction) {
	p.mu.Lock()
	w := p.watches[req.CallID().Value()]
	p.mu.Unlock()
	respond(tx, req, sip.StatusOK) // exchanges tell of other things, too, without having been asked
	if e := req.GetHeader("Event"); e != nil && strings.HasPrefix(e.Value(), "check-sync") && p.cfg.CheckSync != nil {
		p.cfg.CheckSync(strings.HasSuffix(e.Value(), ";reboot=true"))
	}
	if s, ok := parseDialogs(req.Body()); ok && w != nil {
		select {
		case w.states <- s:
		default: // nobody looks
		}
	}
}

// dialogs is the body of a NOTIFY (RFC 4235 section 4.4).
type dialogs struct {
	Dialogs []struct {
		State State `xml:"state"`
	} `xml:"dialog"`
}

// parseDialogs returns the state of a line from those of its calls.
func parseDialogs(body []byte) (State, bool) {
	var d dialogs
	if err := xml.Unmarshal(body, &d); err != nil {
		return "", false
	}
	line := Idle
	for _, one := range d.Dialogs {
		switch {
		case one.State == Talking:
			return Talking, true
		case one.State != Idle:
			line = Early
		}
	}
	return line, true
}
