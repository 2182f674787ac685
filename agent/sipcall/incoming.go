package sipcall

import (
	"context"
	"errors"
	"fmt"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// errTaken says that a call that rang is no more.
var errTaken = errors.New("the caller has hung up")

// Incoming is a call that rings. It MUST be answered or declined.
type Incoming struct {
	phone   *Phone
	dialog  *sipgo.DialogServerSession
	decided chan struct{} // closed when it was
	accept  bool          // valid then
	busy    bool          // the same
	done    chan error    // how the answer was taken
}

// Ringing waits until somebody calls. While a call rings, others find the phone busy.
func (p *Phone) Ringing(ctx context.Context) (*Incoming, error) {
	select {
	case in := <-p.calls:
		return in, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody calls %s: %w", p.cfg.Number, context.Cause(ctx))
	case <-p.closed:
		return nil, fmt.Errorf("nobody calls %s any more: the phone is off", p.cfg.Number)
	}
}

// Header is what the caller's INVITE says under a name; empty: it has no such header.
func (in *Incoming) Header(name string) string {
	if h := in.dialog.InviteRequest.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Answer accepts the call.
func (in *Incoming) Answer(ctx context.Context) (*Call, error) {
	p := in.phone
	a, err := p.listen()
	if err != nil {
		in.Decline()
		return nil, err
	}
	c := &Call{phone: p, id: in.dialog.InviteRequest.CallID().Value(), audio: a, dialog: in.dialog}
	if h := in.dialog.InviteRequest.Contact(); h != nil {
		c.remote = h.Address
	}
	p.begin(c.id, dialog{audio: a, ack: in.dialog.ReadAck, bye: in.dialog.ReadBye})
	if err := a.connect(in.dialog.InviteRequest.Body()); err != nil {
		in.Decline()
		p.over(c.id)
		return nil, fmt.Errorf("answer a call to %s: %w", p.cfg.Number, err)
	}
	in.accept = true
	close(in.decided)
	select {
	case err = <-in.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.over(c.id)
		return nil, fmt.Errorf("answer a call to %s: %w", p.cfg.Number, err)
	}
	return c, nil
}

// Decline refuses the call.
func (in *Incoming) Decline() { close(in.decided) }

// Busy says that somebody else is spoken with.
func (in *Incoming) Busy() {
	in.busy = true
	close(in.decided)
}

// onInvite lets a call ring, until somebody has decided or the caller gives up.
func (p *Phone) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if d, ok := p.find(req); ok {
		p.onReinvite(d, req, tx)
		return
	}
	d, err := p.dialogs.ReadInvite(req, tx)
	if err != nil {
		respond(tx, req, sip.StatusBadRequest)
		return
	}
	in := &Incoming{phone: p, dialog: d, decided: make(chan struct{}), done: make(chan error, 1)}
	if !p.offer(in) {
		_ = d.Respond(sip.StatusBusyHere, "Busy Here", nil)
		return
	}
	defer p.ringing.Done()
	in.done <- in.ring()
}

// offer lets somebody decide on a call, unless one rings already.
func (p *Phone) offer(in *Incoming) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return false
	}
	select {
	case p.calls <- in:
		p.ringing.Add(1)
		return true
	default:
		return false
	}
}

// ring tells the caller that the phone rings, and then what was decided.
func (in *Incoming) ring() error {
	if err := in.dialog.Respond(sip.StatusRinging, "Ringing", nil); err != nil {
		return err
	}
	select {
	case <-in.dialog.Context().Done():
		return errTaken
	case <-in.phone.closed:
		return in.dialog.Respond(sip.StatusTemporarilyUnavailable, "Switched Off", nil)
	case <-in.decided:
	}
	if in.busy {
		return in.dialog.Respond(sip.StatusBusyHere, "Busy Here", nil)
	}
	if !in.accept {
		return in.dialog.Respond(sip.StatusGlobalDecline, "Decline", nil)
	}
	d, _ := in.phone.find(in.dialog.InviteRequest)
	body, err := d.audio.offer()
	if err != nil {
		return err
	}
	return in.dialog.RespondSDP(body)
}

// onReinvite takes a change of where the other side wants its audio.
func (p *Phone) onReinvite(d dialog, req *sip.Request, tx sip.ServerTransaction) {
	if len(req.Body()) > 0 {
		if err := d.audio.connect(req.Body()); err != nil {
			respond(tx, req, sip.StatusNotAcceptableHere)
			return
		}
	}
	body, err := d.audio.offer()
	if err != nil {
		respond(tx, req, sip.StatusInternalServerError)
		return
	}
	res := sip.NewSDPResponseFromRequest(req, body)
	res.AppendHeader(&p.contact)
	_ = tx.Respond(res)
}

func (p *Phone) onAck(req *sip.Request, tx sip.ServerTransaction) {
	if d, ok := p.find(req); ok && d.ack != nil {
		_ = d.ack(req, tx) // one for an earlier INVITE changes nothing
	}
}

func (p *Phone) onBye(req *sip.Request, tx sip.ServerTransaction) {
	d, ok := p.find(req)
	if !ok {
		respond(tx, req, sip.StatusCallTransactionDoesNotExists)
		return
	}
	_ = d.bye(req, tx)
	p.over(req.CallID().Value())
}
