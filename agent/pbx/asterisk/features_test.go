package asterisk

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// office is an exchange with three phones that call each other.
type office struct {
	*exchange
	t                *testing.T
	alice, bob, carl *sipcall.Phone // 100, 101, 102
}

func newOffice(t *testing.T) *office {
	x := newExchange(t, nil)
	x.server.Start()
	want := site()
	want.Extensions[1].Voicemail, want.Extensions[2].Voicemail = false, false
	x.apply(t, want)
	o := &office{exchange: x, t: t}
	for i, p := range []**sipcall.Phone{&o.alice, &o.bob, &o.carl} {
		e := want.Extensions[i]
		*p = x.phone(t, e.Number, e.Secret.Reveal(), []string{"192.168.1.50", "192.168.1.51", "192.168.1.52"}[i], []float64{440, 1000, 1700}[i])
	}
	return o
}

// dial begins a call.
func (o *office) dial(ctx context.Context, from *sipcall.Phone, number string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		call, err := from.Call(ctx, number)
		done <- outcome{call, err}
	}()
	return done
}

type outcome struct {
	*sipcall.Call
	err error
}

// talk waits for the call that was dialled; each must hear the other, and then it is over.
func (o *office) talk(ctx context.Context, dialled <-chan outcome, other *sipcall.Call) {
	o.t.Helper()
	here := <-dialled
	if here.err != nil {
		o.t.Fatal(here.err)
	}
	o.hear(ctx, here.Call, other)
}

// connect has Alice call Bob, until each hears something: what is not connected yet cannot be transferred.
func (o *office) connect(ctx context.Context) (alice, bob *sipcall.Call) {
	o.t.Helper()
	call := o.dial(ctx, o.alice, "101")
	bob = o.answer(ctx, o.bob)
	here := <-call
	if here.err != nil {
		o.t.Fatal(here.err)
	}
	if err := errors.Join(here.Hear(ctx, 0), bob.Hear(ctx, 0)); err != nil {
		o.t.Fatal(err)
	}
	return here.Call, bob
}

func (o *office) hear(ctx context.Context, here, there *sipcall.Call) {
	o.t.Helper()
	if err := errors.Join(here.Hear(ctx, 0), there.Hear(ctx, 0), here.HangUp(ctx)); err != nil {
		o.t.Error(err)
	}
	select {
	case <-there.Done():
	case <-ctx.Done():
		o.t.Error("the other side was not told that it is over")
	}
}

// answer takes the call that rings.
func (o *office) answer(ctx context.Context, at *sipcall.Phone) *sipcall.Call {
	o.t.Helper()
	in, err := at.Ringing(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	c, err := in.Answer(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// service dials a feature code; the exchange answers and says that it is done.
func (o *office) service(ctx context.Context, from *sipcall.Phone, code string) {
	o.t.Helper()
	c, err := from.Call(ctx, code)
	if err != nil {
		o.t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		o.t.Errorf("%s does not end", code)
	}
}

// What the keys of the phones and the codes promise, by real calls.
func TestFeatures(t *testing.T) {
	o := newOffice(t)
	run := func(name string, test func(t *testing.T, ctx context.Context)) {
		t.Run(name, func(t *testing.T) {
			o.t = t
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			test(t, ctx)
		})
	}
	run("group, all ring", func(t *testing.T, ctx context.Context) {
		call := o.dial(ctx, o.alice, "600")
		if _, err := o.bob.Ringing(ctx); err != nil { // rings too, and is told when another has answered
			t.Fatal(err)
		}
		o.talk(ctx, call, o.answer(ctx, o.carl))
	})
	run("group, one after the other", func(t *testing.T, ctx context.Context) {
		call := o.dial(ctx, o.alice, "601")
		in, err := o.bob.Ringing(ctx)
		if err != nil {
			t.Fatal(err)
		}
		in.Decline()
		o.talk(ctx, call, o.answer(ctx, o.carl))
	})
	run("directed pickup", func(t *testing.T, ctx context.Context) {
		call := o.dial(ctx, o.alice, "101")
		if _, err := o.bob.Ringing(ctx); err != nil {
			t.Fatal(err)
		}
		taken := <-o.dial(ctx, o.carl, "**101")
		if taken.err != nil {
			t.Fatal(taken.err)
		}
		o.talk(ctx, call, taken.Call)
	})
	run("pickup of a group's call", func(t *testing.T, ctx context.Context) {
		call := o.dial(ctx, o.alice, "601")
		if _, err := o.bob.Ringing(ctx); err != nil {
			t.Fatal(err)
		}
		taken := <-o.dial(ctx, o.carl, "**101")
		if taken.err != nil {
			t.Fatal(taken.err)
		}
		o.talk(ctx, call, taken.Call)
	})
	run("pickup of whatever rings", func(t *testing.T, ctx context.Context) {
		call := o.dial(ctx, o.alice, "101")
		if _, err := o.bob.Ringing(ctx); err != nil {
			t.Fatal(err)
		}
		taken := <-o.dial(ctx, o.carl, "*8")
		if taken.err != nil {
			t.Fatal(taken.err)
		}
		o.talk(ctx, call, taken.Call)
	})
	run("nothing to pick up", func(t *testing.T, ctx context.Context) {
		if _, err := o.carl.Call(ctx, "**101"); err == nil || ctx.Err() != nil {
			t.Errorf("picked up what does not ring: %v", err)
		}
	})
	run("park", func(t *testing.T, ctx context.Context) {
		alice, bob := o.connect(ctx)
		lamp, err := o.carl.Watch(ctx, "71")
		if err != nil {
			t.Fatal(err)
		}
		if err := bob.Transfer(ctx, "71"); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(lamp.Wait(ctx, sipcall.Talking), lamp.Stop(ctx)); err != nil {
			t.Fatal(err)
		}
		taken := <-o.dial(ctx, o.carl, "71")
		if taken.err != nil {
			t.Fatal(taken.err)
		}
		o.hear(ctx, taken.Call, alice)
	})
	run("park in the first free slot", func(t *testing.T, ctx context.Context) {
		alice, bob := o.connect(ctx)
		if err := bob.Transfer(ctx, "70"); err != nil {
			t.Fatal(err)
		}
		var slot string
		labtest.Eventually(t, func() error {
			out := o.server.CLI("parking show sae")
			m := regexp.MustCompile(`Space\s*:\s*(7\d)`).FindStringSubmatch(out)
			if m == nil {
				return errors.New(out)
			}
			slot = m[1]
			return nil
		})
		taken := <-o.dial(ctx, o.carl, slot)
		if taken.err != nil {
			t.Fatal(taken.err)
		}
		o.hear(ctx, taken.Call, alice)
	})
	run("nothing is parked", func(t *testing.T, ctx context.Context) { o.service(ctx, o.carl, "72") })
	run("forward", func(t *testing.T, ctx context.Context) {
		o.service(ctx, o.bob, "*72102")
		call := o.dial(ctx, o.alice, "101")
		o.talk(ctx, call, o.answer(ctx, o.carl))
		o.service(ctx, o.bob, "*73")
		call = o.dial(ctx, o.alice, "101")
		o.talk(ctx, call, o.answer(ctx, o.bob))
	})
	run("forward when busy", func(t *testing.T, ctx context.Context) {
		o.service(ctx, o.bob, "*90102")
		call := o.dial(ctx, o.alice, "101")
		in, err := o.bob.Ringing(ctx)
		if err != nil {
			t.Fatal(err)
		}
		in.Busy()
		o.talk(ctx, call, o.answer(ctx, o.carl))
		o.service(ctx, o.bob, "*91")
	})
	run("forward when nobody answers", func(t *testing.T, ctx context.Context) {
		o.service(ctx, o.bob, "*52102")
		if err := o.bob.Register(ctx, 0); err != nil { // his phone is off
			t.Fatal(err)
		}
		call := o.dial(ctx, o.alice, "101")
		o.talk(ctx, call, o.answer(ctx, o.carl))
		if err := o.bob.Register(ctx, time.Hour); err != nil {
			t.Fatal(err)
		}
		o.service(ctx, o.bob, "*53")
	})
	run("two who forward to each other", func(t *testing.T, ctx context.Context) {
		o.service(ctx, o.bob, "*72102")
		o.service(ctx, o.carl, "*72101")
		if _, err := o.alice.Call(ctx, "101"); err == nil || ctx.Err() != nil {
			t.Errorf("somebody answered: %v", err)
		}
		o.service(ctx, o.bob, "*73")
		o.service(ctx, o.carl, "*73")
	})
	run("do not disturb", func(t *testing.T, ctx context.Context) {
		o.service(ctx, o.carl, "*78")
		if _, err := o.alice.Call(ctx, "102"); err == nil || ctx.Err() != nil {
			t.Errorf("disturbed: %v", err)
		}
		call := o.dial(ctx, o.alice, "600") // the others ring
		o.talk(ctx, call, o.answer(ctx, o.bob))
		o.service(ctx, o.carl, "*79")
		call = o.dial(ctx, o.alice, "102")
		o.talk(ctx, call, o.answer(ctx, o.carl))
	})
}
