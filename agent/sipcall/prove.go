package sipcall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// stepTime bounds each thing that is waited for in a call that was set up.
const stepTime = 20 * time.Second

// errElse says that the phone that was called is not the one that answered.
var errElse = errors.New("something else than this phone has answered")

// Proof is what came of a call between two phones.
type Proof struct {
	Setup time.Duration // from dialling to ringing
	Call  error         // why there was no call
	Media netip.Addr    // where the server wanted the caller's audio
	Audio error         // what was not heard
	Lamp  error         // why the caller's busy lamp did not follow
}

// Err is the first thing that was wrong.
func (p Proof) Err() error {
	for _, err := range []error{p.Call, p.Audio, p.Lamp} {
		if err != nil {
			return err
		}
	}
	return nil
}

// String says it in a line.
func (p Proof) String() string {
	switch {
	case p.Call != nil:
		return p.Call.Error()
	case p.Audio != nil:
		return p.Audio.Error()
	case p.Lamp != nil:
		return "audio both ways, but " + p.Lamp.Error()
	}
	return "audio both ways, busy lamp followed"
}

// Prove has one phone call another: it must ring and be answered, each must hear the
// other's tone, and a busy lamp at the caller's must follow. Both are registered, and
// their tones differ.
func Prove(ctx context.Context, from, to *Phone) (p Proof) {
	lamp := &follower{}
	lamp.watch, lamp.err = from.Watch(ctx, to.cfg.Number)
	defer func() { p.Lamp = lamp.stop(ctx) }()
	lamp.follow(ctx, Idle)

	here, there, err := connect(ctx, from, to, func(setup time.Duration) {
		p.Setup = setup
		lamp.follow(ctx, Early)
	})
	if err != nil {
		p.Call = err
		return p
	}
	lamp.follow(ctx, Talking)
	p.Media = here.Media()
	p.Audio = hearBoth(ctx, here, there)
	p.Call = here.HangUp(ctx)
	if err := waitDone(ctx, there); err != nil {
		p.Call = errors.Join(p.Call, err)
	}
	lamp.follow(ctx, Idle)
	return p
}

// connect calls from one phone to another, and answers once rings has returned.
func connect(ctx context.Context, from, to *Phone, rings func(setup time.Duration)) (here, there *Call, err error) {
	calling, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	waiting, rung := context.WithCancelCause(ctx)
	defer rung(nil)
	called := make(chan error, 1)
	start := time.Now()
	from.wg.Go(func() {
		var err error
		here, err = from.Call(calling, to.cfg.Number)
		rung(cmp.Or(err, errElse)) // which matters if nothing has rung yet
		called <- err
	})
	in, err := to.Ringing(waiting)
	if err == nil {
		rings(time.Since(start))
		there, err = in.Answer(ctx)
	}
	if err != nil {
		hangUp(err)
	}
	if callErr := <-called; callErr != nil {
		err = callErr // says more than that nothing rang
	}
	if err == nil {
		return here, there, nil
	}
	for _, c := range []*Call{here, there} {
		if c != nil {
			_ = c.HangUp(ctx) // there is something worse to tell
		}
	}
	return nil, nil, err
}

// hearBoth waits until the two sides of a call have heard each other.
func hearBoth(ctx context.Context, here, there *Call) error {
	heard := make(chan error, 1)
	here.phone.wg.Go(func() { heard <- hearWithin(ctx, here, there.phone) })
	return errors.Join(hearWithin(ctx, there, here.phone), <-heard)
}

// hearWithin waits until the other side is heard in a call.
func hearWithin(ctx context.Context, c *Call, other *Phone) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := c.Hear(ctx, other.cfg.Tone); err != nil {
		return fmt.Errorf("%s does not hear %s: %w", c.phone.cfg.Number, other.cfg.Number, err)
	}
	return nil
}

func waitDone(ctx context.Context, c *Call) error {
	defer c.phone.over(c.id)
	select {
	case <-c.Done():
		return nil
	case <-time.After(stepTime):
	case <-ctx.Done():
	}
	return fmt.Errorf("%s is not told that the other side has hung up", c.phone.cfg.Number)
}

// follower is a lamp that is looked at until it is wrong for the first time.
type follower struct {
	watch *Watch
	err   error
}

func (f *follower) follow(ctx context.Context, want State) {
	if f.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	f.err = f.watch.Wait(ctx, want)
}

func (f *follower) stop(ctx context.Context) error {
	if f.watch == nil {
		return f.err
	}
	return errors.Join(f.err, f.watch.Stop(ctx))
}
