package sipcall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/sae-agent/sae-agent/internal/signal"
)

// endTime is how long the other side may take to agree that a call is over.
const endTime = 2 * time.Second

// Call is a call that was answered.
type Call struct {
	phone  *Phone
	id     string // Call-ID
	audio  *audio
	remote sip.Uri // where the other side is reached
	dialog interface {
		Bye(ctx context.Context) error
		Do(ctx context.Context, req *sip.Request) (*sip.Response, error)
		Context() context.Context // ends with the call
	}
}

// dialog is a call as far as the requests in it go.
type dialog struct {
	audio *audio
	ack   func(*sip.Request, sip.ServerTransaction) error
	bye   func(*sip.Request, sip.ServerTransaction) error
}

// Call calls a number and returns when it is answered. If ctx ends before, the call
// is taken back.
func (p *Phone) Call(ctx context.Context, number string) (*Call, error) {
	c, err := p.call(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("call of %s to %s: %w", p.cfg.Number, number, err)
	}
	return c, nil
}

func (p *Phone) call(ctx context.Context, number string) (*Call, error) {
	a, err := p.listen()
	if err != nil {
		return nil, err
	}
	offer, err := a.offer()
	if err != nil {
		a.close()
		return nil, err
	}
	req := p.request(sip.INVITE, p.address(number), p.address(number))
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(offer)
	d, err := p.invite(ctx, req)
	if err != nil {
		a.close()
		return nil, err
	}
	c := &Call{phone: p, id: req.CallID().Value(), audio: a, dialog: d}
	if h := d.InviteResponse.Contact(); h != nil {
		c.remote = h.Address
	}
	p.begin(c.id, dialog{audio: a, bye: d.ReadBye})
	err = errors.Join(d.Ack(ctx), a.connect(d.InviteResponse.Body()))
	if err != nil {
		return nil, errors.Join(err, c.HangUp(ctx))
	}
	return c, nil
}

// invite sends an INVITE until it is answered.
func (p *Phone) invite(ctx context.Context, req *sip.Request) (*sipgo.DialogClientSession, error) {
	heard := signal.New()
	d, err := p.dialogs.WriteInvite(ctx, req)
	if err != nil {
		return nil, p.why(ctx, err)
	}
	// Taking a call back needs an answer of some sort, which may never come.
	waiting, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	answered := make(chan error, 1)
	p.wg.Go(func() {
		answered <- d.WaitAnswer(waiting, sipgo.AnswerOptions{
			Username: p.cfg.Auth, Password: p.cfg.Secret,
			OnResponse: func(*sip.Response) error {
				heard.Notify()
				return nil
			},
		})
	})
	select {
	case err = <-answered:
		return d, p.refused(ctx, err)
	case <-ctx.Done():
	}
	select {
	case <-heard.C():
		giveUp(nil)
	default:
		giveUp(sipgo.WaitAnswerForceCancelErr)
	}
	select {
	case <-answered: // or answered in the last moment: no ACK will come, which ends it, too
	case <-time.After(endTime):
	}
	return nil, context.Cause(ctx)
}

// refused says in words why an INVITE was not accepted.
func (p *Phone) refused(ctx context.Context, err error) error {
	var r *sipgo.ErrDialogResponse
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &r):
		return p.why(ctx, err)
	case r.Res.StatusCode == sip.StatusUnauthorized || r.Res.StatusCode == sip.StatusProxyAuthRequired:
		return fmt.Errorf("%d %s: %w", r.Res.StatusCode, r.Res.Reason, ErrSecret)
	}
	return refusal(r.Res)
}

// listen opens what a call's audio goes through.
func (p *Phone) listen() (*audio, error) {
	conn, err := p.cfg.Listen(0)
	if err != nil {
		return nil, err
	}
	return newAudio(conn, p.cfg.Tone), nil
}

func (p *Phone) begin(id string, d dialog) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.talks[id] = d
}

// find returns the call that a request is for.
func (p *Phone) find(req *sip.Request) (dialog, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.talks[req.CallID().Value()]
	return d, ok
}

// over ends what belongs to a call.
func (p *Phone) over(id string) {
	p.mu.Lock()
	d, ok := p.talks[id]
	delete(p.talks, id)
	p.mu.Unlock()
	if ok {
		d.audio.close()
	}
}

// Hear waits until a tone of so many Hz is heard, or any sound if hz is 0. The error
// says what was heard instead.
func (c *Call) Hear(ctx context.Context, hz float64) error { return c.audio.hear(ctx, hz) }

// Done is closed when the other side has hung up.
func (c *Call) Done() <-chan struct{} { return c.dialog.Context().Done() }

// HangUp ends the call, unless the other side has.
func (c *Call) HangUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	err := c.dialog.Bye(ctx)
	c.phone.over(c.id)
	if err != nil {
		return fmt.Errorf("hang up: %w", c.phone.why(ctx, err))
	}
	return nil
}

// Media is where the other side wants its audio.
func (c *Call) Media() netip.Addr {
	c.audio.mu.Lock()
	defer c.audio.mu.Unlock()
	if c.audio.to == nil {
		return netip.Addr{}
	}
	return addrPort(c.audio.to).Addr()
}

// Transfer has the other side call a number instead of this phone (RFC 3515), as the key of a desk phone does without
// asking there first. The call ends with it.
func (c *Call) Transfer(ctx context.Context, number string) error {
	to := c.phone.address(number)
	req := sip.NewRequest(sip.REFER, c.remote)
	req.AppendHeader(sip.NewHeader("Refer-To", "<"+to.String()+">"))
	req.AppendHeader(c.phone.contact.Clone())
	res, err := c.dialog.Do(ctx, req)
	if err == nil {
		err = refusal(res)
	}
	if err != nil {
		return fmt.Errorf("transfer of a call to %s: %w", number, c.phone.why(ctx, err))
	}
	return nil
}
