package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type partFunc func(ctx context.Context) error

func (f partFunc) Run(ctx context.Context) error { return f(ctx) }

func build(f partFunc) Build {
	return func(context.Context) (Part, error) { return f, nil }
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func newTest(t *testing.T) (*Supervisor, func()) {
	ctx, cancel := context.WithCancel(t.Context())
	s := New(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)))
	return s, func() { cancel(); s.Wait() }
}

func find(t *testing.T, s *Supervisor, name string) control.PartStatus {
	t.Helper()
	for _, st := range s.Status() {
		if st.Name == name {
			return st
		}
	}
	t.Fatalf("no part named %q in %v", name, s.Status())
	return control.PartStatus{}
}

func TestFailingPartsRetryWithBackOffAndLeaveOthersAlone(t *testing.T) {
	failures := map[string]partFunc{
		"error":   func(context.Context) error { return errors.New("port taken") },
		"panic":   func(context.Context) error { panic("broken") },
		"returns": func(context.Context) error { return nil },
	}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newTest(t)
				defer stop()
				s.Set("good", build(untilDone))
				starts := 0
				s.Set("bad", build(func(ctx context.Context) error { starts++; return f(ctx) }))

				time.Sleep(time.Second) // starts at 0, 250 ms, 750 ms; the next is at 1,750 ms
				synctest.Wait()
				if starts != 3 {
					t.Errorf("%d starts in the first second, want 3", starts)
				}
				st := find(t, s, "bad")
				if st.State != control.PartWaiting || st.LastError == "" || st.Retries != 2 || st.NextTry.IsZero() {
					t.Errorf("status of the failing part: %+v", st)
				}
				if st := find(t, s, "good"); st.State != control.PartRunning || st.Retries != 0 {
					t.Errorf("status of the good part: %+v", st)
				}
			})
		})
	}
}

func TestBuildErrorIsRetriedUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newTest(t)
		defer stop()
		tries := 0
		s.Set("p", func(context.Context) (Part, error) {
			if tries++; tries < 3 {
				return nil, errors.New("no such interface")
			}
			return partFunc(untilDone), nil
		})
		time.Sleep(time.Second)
		synctest.Wait()
		st := find(t, s, "p")
		if st.State != control.PartRunning || st.Retries != 2 || st.LastError != "no such interface" {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestSetStopsTheOldPartBeforeTheNewOneStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newTest(t)
		defer stop()
		running, most := 0, 0
		part := func(ctx context.Context) error {
			running++
			most = max(most, running)
			<-ctx.Done()
			time.Sleep(time.Second) // takes a while to let go of its port
			running--
			return nil
		}
		for range 3 {
			s.Set("p", build(part))
			synctest.Wait()
		}
		if most != 1 {
			t.Errorf("%d instances ran at once, want 1", most)
		}
		s.Remove("p")
		if running != 0 || len(s.Status()) != 0 {
			t.Errorf("after Remove: %d running, status %v", running, s.Status())
		}
	})
}

func TestBackOffIsBoundedAndResetsAfterHealth(t *testing.T) {
	for name, c := range map[string]struct{ life, want time.Duration }{
		"fails at once":       {0, maxDelay},
		"healthy for a while": {healthyAfter, healthyAfter + firstDelay},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newTest(t)
				var starts []time.Time
				s.Set("p", build(func(ctx context.Context) error {
					starts = append(starts, time.Now())
					sleep(ctx, c.life)
					return errors.New("gone")
				}))
				time.Sleep(5 * time.Minute)
				stop()
				if got := starts[len(starts)-1].Sub(starts[len(starts)-2]); got != c.want {
					t.Errorf("between the last two starts: %v, want %v", got, c.want)
				}
			})
		})
	}
}
