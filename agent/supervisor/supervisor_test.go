package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is what a test says that the units should be.
type host struct {
	generation uint64
	want       map[string]string // by unit; absent: off
}

// start runs units until the test ends.
func (h *host) start(t *testing.T, units ...part.Unit) (s *Supervisor, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s = New(units, Options{
		Input:  func() part.Input { return part.Input{Generation: h.generation} },
		Logger: slog.New(slog.DiscardHandler),
	})
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	return s, func() { cancel(); <-ended }
}

// unit makes a unit that is what h wants.
func (h *host) unit(name string, build func(ctx context.Context, c string) (part.Run[string], error)) part.Unit {
	return part.NewUnit(part.Spec[string]{
		Name: name,
		Desired: func(context.Context, part.Input) (string, bool, error) {
			c, on := h.want[name]
			return c, on, nil
		},
		Build: build,
	})
}

func runs(f func(ctx context.Context) error) func(context.Context, string) (part.Run[string], error) {
	return func(context.Context, string) (part.Run[string], error) { return part.Run[string]{Run: f}, nil }
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func find(t *testing.T, s *Supervisor, name string) control.PartStatus {
	t.Helper()
	for _, st := range s.Status() {
		if st.Name == name {
			return st
		}
	}
	t.Fatalf("no unit named %q in %v", name, s.Status())
	return control.PartStatus{}
}

func TestFailingUnitsRetryWithBackOffAndLeaveOthersAlone(t *testing.T) {
	failures := map[string]func(context.Context) error{
		"error":   func(context.Context) error { return errors.New("port taken") },
		"panic":   func(context.Context) error { panic("broken") },
		"returns": func(context.Context) error { return nil },
	}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &host{generation: 1, want: map[string]string{"good": "", "bad": ""}}
				starts := 0
				s, stop := h.start(t, h.unit("good", runs(untilDone)), h.unit("bad", runs(func(ctx context.Context) error { starts++; return f(ctx) })))
				defer stop()
				for range 10 { // being woken up changes nothing
					time.Sleep(100 * time.Millisecond)
					s.Wake()
				}
				synctest.Wait()
				if starts != 3 { // at 0, 250 ms, 750 ms; the next is at 1,750 ms
					t.Errorf("%d starts in the first second, want 3", starts)
				}
				st := find(t, s, "bad")
				if st.State != control.PartWaiting || st.LastError == "" || st.Retries != 2 || st.NextTry.IsZero() || st.Behind == "" {
					t.Errorf("status of the failing unit: %+v", st)
				}
				if st := find(t, s, "good"); st.State != control.PartRunning || st.Retries != 0 || st.Generation != 1 {
					t.Errorf("status of the good unit: %+v", st)
				}
			})
		})
	}
}

// An operator who applies again does not wait for the pause between two tries.
func TestAnotherGenerationIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{generation: 1, want: map[string]string{"bad": ""}}
		starts := 0
		s, stop := h.start(t, h.unit("bad", runs(func(context.Context) error { starts++; return errors.New("port taken") })))
		defer stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before := starts
		for h.generation < 4 {
			h.generation++
			s.Wake()
			synctest.Wait()
		}
		if starts != before+3 {
			t.Errorf("%d starts by three applies", starts-before)
		}
	})
}

func TestBuildIsRetriedUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"p": ""}}
		tries := 0
		s, stop := h.start(t, h.unit("p", func(context.Context, string) (part.Run[string], error) {
			if tries++; tries < 3 {
				return part.Run[string]{}, errors.New("no such interface")
			}
			return part.Run[string]{Run: untilDone}, nil
		}))
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		st := find(t, s, "p")
		if st.State != control.PartRunning || st.Retries != 2 || st.LastError != "no such interface" || st.Behind != "" {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestTheOldRunEndsBeforeTheNewOneStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"p": "a"}}
		running, most := 0, 0
		s, stop := h.start(t, h.unit("p", runs(func(ctx context.Context) error {
			running++
			most = max(most, running)
			<-ctx.Done()
			time.Sleep(time.Second) // takes a while to let go of its port
			running--
			return nil
		})))
		defer stop()
		for _, c := range []string{"b", "c", "d"} {
			synctest.Wait()
			h.want["p"] = c
			if err := s.WaitEvaluated(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // the last run has begun
		if most != 1 {
			t.Errorf("%d ran at once, want 1", most)
		}
		delete(h.want, "p")
		_ = s.WaitEvaluated(t.Context())
		if st := find(t, s, "p"); running != 0 || st.State != control.PartOff {
			t.Errorf("switched off: %d running, %+v", running, st)
		}
	})
}

func TestBackOffIsBoundedAndEndsWithHealth(t *testing.T) {
	for name, c := range map[string]struct{ life, want time.Duration }{
		"fails at once":       {0, maxDelay},
		"healthy for a while": {healthyAfter, healthyAfter + firstDelay},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &host{want: map[string]string{"p": ""}}
				var starts []time.Time
				_, stop := h.start(t, h.unit("p", runs(func(ctx context.Context) error {
					starts = append(starts, time.Now())
					select {
					case <-ctx.Done():
					case <-time.After(c.life):
					}
					return errors.New("gone")
				})))
				time.Sleep(5 * time.Minute)
				stop()
				if got := starts[len(starts)-1].Sub(starts[len(starts)-2]); got != c.want {
					t.Errorf("between the last two starts: %v, want %v", got, c.want)
				}
			})
		})
	}
}

// A part that ignores its cancellation is not started beside itself, and delays
// neither another one nor the end of the daemon.
func TestARunThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{generation: 1, want: map[string]string{"stuck": "a", "good": "a"}}
		release := make(chan struct{})
		defer close(release)
		starts := 0
		s, stop := h.start(t, h.unit("stuck", runs(func(context.Context) error { starts++; <-release; return nil })), h.unit("good", runs(untilDone)))
		synctest.Wait()
		h.generation, h.want = 2, map[string]string{"stuck": "b", "good": "b"}
		s.Wake()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		behind := s.InForce(ctx, 2)
		if len(behind) != 1 || behind[0].Name != "stuck" || behind[0].State != control.PartStuck || starts != 1 {
			t.Errorf("after %v: %+v, %d starts", time.Since(began), behind, starts)
		}
		if st := find(t, s, "good"); st.Generation != 2 {
			t.Errorf("the other one: %+v", st)
		}
		began = time.Now()
		stop()
		if took := time.Since(began); took > endTime {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestAStuckRunThatEndsIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"p": "a"}}
		var got []string
		s, stop := h.start(t, h.unit("p", func(_ context.Context, c string) (part.Run[string], error) {
			got = append(got, c)
			return part.Run[string]{Run: func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Minute)
				return nil
			}}, nil
		}))
		synctest.Wait()
		h.want["p"] = "b"
		s.Wake()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := find(t, s, "p"); st.State != control.PartRunning || strings.Join(got, "") != "ab" {
			t.Errorf("%v, %+v", got, st)
		}
		stop()
		time.Sleep(time.Minute) // what was left behind ends, too
	})
}

// A call that hangs (Desired, Build, Apply) is that unit's alone.
func TestAnApplyThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"p": "a", "good": "a"}}
		release := make(chan struct{})
		calls := 0
		s, stop := h.start(t, h.unit("p", func(context.Context, string) (part.Run[string], error) {
			return part.Run[string]{Run: untilDone, Apply: func(context.Context, string) error { calls++; <-release; return nil }}, nil
		}), h.unit("good", runs(untilDone)))
		defer stop()
		synctest.Wait()
		h.want = map[string]string{"p": "b", "good": "b"}
		s.Wake()
		time.Sleep(applyTime + endTime + time.Second)
		s.Wake()
		synctest.Wait()
		if st := find(t, s, "p"); st.State != control.PartStuck || st.Behind == "" || calls != 1 {
			t.Errorf("%d calls, %+v", calls, st)
		}
		if st := find(t, s, "good"); st.State != control.PartRunning || st.Behind != "" {
			t.Errorf("the other one: %+v", st)
		}
		close(release)
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := find(t, s, "p"); st.State != control.PartRunning || st.Behind != "" || calls != 2 {
			t.Errorf("released: %d calls, %+v", calls, st)
		}
	})
}

// An error of Apply is told, and tried again; what ran goes on.
func TestAnApplyThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{generation: 1, want: map[string]string{"p": "a"}}
		starts, calls := 0, 0
		s, stop := h.start(t, h.unit("p", func(context.Context, string) (part.Run[string], error) {
			starts++
			return part.Run[string]{Run: untilDone, Apply: func(context.Context, string) error {
				if calls++; calls < 3 {
					return errors.New("device busy")
				}
				return nil
			}}, nil
		}))
		defer stop()
		synctest.Wait()
		h.generation, h.want["p"] = 2, "b"
		_ = s.WaitEvaluated(t.Context())
		st := find(t, s, "p")
		if !strings.Contains(st.Behind, "device busy") || st.Generation != 1 || st.State != control.PartRunning {
			t.Errorf("after the failure: %+v", st)
		}
		if behind := s.InForce(t.Context(), 2); len(behind) != 0 || starts != 1 || calls != 3 {
			t.Errorf("behind %v, %d starts, %d calls", behind, starts, calls)
		}
	})
}

func TestApplyMayAskForANewRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"p": "a"}}
		var got []string
		s, stop := h.start(t, h.unit("p", func(_ context.Context, c string) (part.Run[string], error) {
			got = append(got, c)
			return part.Run[string]{Run: untilDone, Apply: func(context.Context, string) error { return part.ErrRebuild }}, nil
		}))
		defer stop()
		synctest.Wait()
		h.want["p"] = "b"
		_ = s.WaitEvaluated(t.Context())
		if strings.Join(got, "") != "ab" {
			t.Errorf("runs of %v", got)
		}
	})
}

// A configuration is in force once it was read back, not before.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{generation: 1, want: map[string]string{"p": "a"}}
		wrong := errors.New("the exchange refuses")
		var mended atomic.Bool
		s, stop := h.start(t, h.unit("p", func(context.Context, string) (part.Run[string], error) {
			return part.Run[string]{
				Run:   untilDone,
				Apply: func(context.Context, string) error { return nil },
				Settle: func(ctx context.Context) error {
					select {
					case <-time.After(5 * time.Second):
						if mended.Load() {
							return nil
						}
						return wrong
					case <-ctx.Done():
						return ctx.Err()
					}
				},
			}, nil
		}))
		defer stop()
		_ = s.WaitEvaluated(t.Context())
		if st := find(t, s, "p"); st.Generation != 0 || st.Behind != errChanging.Error() || st.State != control.PartRunning {
			t.Errorf("before it is read back: %+v", st)
		}
		time.Sleep(6 * time.Second)
		if st := find(t, s, "p"); st.Generation != 0 || st.Behind != wrong.Error() {
			t.Errorf("refused: %+v", st)
		}
		mended.Store(true)
		began := time.Now()
		if behind := s.InForce(t.Context(), 1); len(behind) != 0 || time.Since(began) > time.Minute {
			t.Errorf("tried again: %v after %v", behind, time.Since(began))
		}
		// A newer configuration does not wait for the one before it.
		h.generation, h.want["p"] = 2, "b"
		_ = s.WaitEvaluated(t.Context())
		time.Sleep(time.Second)
		h.generation, h.want["p"] = 3, "c"
		_ = s.WaitEvaluated(t.Context())
		began = time.Now()
		if behind := s.InForce(t.Context(), 3); len(behind) != 0 || time.Since(began) != 5*time.Second {
			t.Errorf("newer: %v after %v", behind, time.Since(began))
		}
	})
}

func TestSameConfigurationIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{generation: 1, want: map[string]string{"p": "a"}}
		applied := 0
		s, stop := h.start(t, h.unit("p", func(context.Context, string) (part.Run[string], error) {
			return part.Run[string]{Run: untilDone, Apply: func(context.Context, string) error { applied++; return nil }}, nil
		}))
		defer stop()
		synctest.Wait()
		h.generation = 2
		s.Wake()
		if behind := s.InForce(t.Context(), 2); len(behind) != 0 || applied != 0 {
			t.Errorf("behind %v, applied %d times", behind, applied)
		}
	})
}

func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{want: map[string]string{"good": "", "dead": "", "plain": ""}}
		lively := func(f func(context.Context) error) func(context.Context, string) (part.Run[string], error) {
			return func(context.Context, string) (part.Run[string], error) {
				return part.Run[string]{Run: untilDone, Alive: f}, nil
			}
		}
		s, stop := h.start(t, h.unit("good", lively(func(context.Context) error { return nil })),
			h.unit("dead", lively(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })), h.unit("plain", runs(untilDone)))
		defer stop()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := s.Alive(ctx); strings.Join(got, " ") != "dead" {
			t.Errorf("silent: %v", got)
		}
	})
}

// What phones wait for at a start is not held up by what they do not wait for, nor this by it for long.
func TestFirstUnitsGoBeforeOthers(t *testing.T) {
	for name, c := range map[string]struct{ takes, want time.Duration }{
		"quick":  {300 * time.Millisecond, 300 * time.Millisecond},
		"hangs":  {time.Hour, firstTime},
		"failed": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &host{generation: 1, want: map[string]string{"dhcp": "", "other": ""}}
				began := time.Now()
				var after time.Duration
				first := h.unit("dhcp", func(ctx context.Context, _ string) (part.Run[string], error) {
					select {
					case <-time.After(c.takes):
					case <-ctx.Done():
					}
					if name == "failed" {
						return part.Run[string]{}, errors.New("no card")
					}
					return part.Run[string]{Run: untilDone}, nil
				})
				first.First = true
				s, stop := h.start(t, h.unit("other", func(context.Context, string) (part.Run[string], error) {
					after = time.Since(began)
					return part.Run[string]{Run: untilDone}, nil
				}), first)
				defer stop()
				time.Sleep(2 * firstTime)
				synctest.Wait()
				if after != c.want {
					t.Errorf("the other one was started after %v, want %v", after, c.want)
				}
				if st := find(t, s, "other"); st.State != control.PartRunning {
					t.Errorf("the other one: %+v", st)
				}
			})
		})
	}
}
