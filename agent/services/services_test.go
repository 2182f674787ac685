package services

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a systemd that the test moves.
type fake struct {
	changed chan struct{}

	mu       sync.Mutex // guards the following
	units    map[string]Unit
	err      error
	lost     bool
	sessions int
	open     int
}

func newFake(units ...Unit) *fake {
	f := &fake{changed: make(chan struct{}, 1), units: make(map[string]Unit)}
	for _, u := range units {
		f.units[u.Name] = u
	}
	return f
}

func (f *fake) Open(context.Context) (Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = false
	f.sessions++
	f.open++
	return f, f.err
}

func (f *fake) Units(_ context.Context, names []string) (out []Unit, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if u, ok := f.units[n]; ok {
			out = append(out, u)
		}
	}
	return out, f.err
}

func (f *fake) Changed() <-chan struct{} { return f.changed }

func (f *fake) Connected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.lost
}

func (f *fake) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// set changes a unit, with or without a signal.
func (f *fake) set(u Unit, signal bool) {
	f.mu.Lock()
	f.units[u.Name] = u
	f.mu.Unlock()
	if signal {
		f.changed <- struct{}{}
	}
}

// run runs a watcher of freepbx, mariadb and fail2ban until the test ends.
func run(t *testing.T, f *fake) (w *Watcher, seen chan struct{}, log *bytes.Buffer, ended chan error, stop func()) {
	t.Helper()
	log, seen, ended = &bytes.Buffer{}, make(chan struct{}, 100), make(chan error, 1)
	w = New([]string{"mariadb", "freepbx", "fail2ban"}, f, slog.New(slog.NewTextHandler(log, nil)), func() { seen <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- w.Run(ctx) }()
	return w, seen, log, ended, cancel
}

func TestFollowsChanges(t *testing.T) {
	since := time.Unix(1_790_000_000, 0)
	running := Unit{Name: "mariadb", State: "active", Sub: "running", Enabled: true, Since: since}
	f := newFake(Unit{Name: "freepbx", State: "active", Sub: "exited"}, running)
	w, seen, log, ended, stop := run(t, f)
	<-seen
	if diff := cmp.Diff([]Unit{{Name: "freepbx", State: "active", Sub: "exited"}, running}, w.Units()); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
	failed := running
	failed.State, failed.Sub, failed.Since = "failed", "failed", since.Add(time.Minute)
	f.set(failed, true)
	<-seen
	const want = `
# HELP sae_unit_active 1 while the service runs. Services that are not installed are left out.
# TYPE sae_unit_active gauge
sae_unit_active{unit="freepbx"} 1
sae_unit_active{unit="mariadb"} 0
# HELP sae_unit_enabled 1 if the service starts with the machine.
# TYPE sae_unit_enabled gauge
sae_unit_enabled{unit="freepbx"} 0
sae_unit_enabled{unit="mariadb"} 1
# HELP sae_unit_state_change_timestamp_seconds When the service last started, stopped or failed.
# TYPE sae_unit_state_change_timestamp_seconds gauge
sae_unit_state_change_timestamp_seconds{unit="mariadb"} 1.79000006e+09
`
	if err := testutil.CollectAndCompare(w, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "unit=mariadb from=active to=failed") {
		t.Errorf("log:\n%s", got)
	}
	if f.open != 0 {
		t.Errorf("%d sessions are open", f.open)
	}
}

// A connection that is lost ends the run; the next one lists anew.
func TestLostConnection(t *testing.T) {
	f := newFake(Unit{Name: "mariadb", State: "active"})
	w, seen, _, ended, _ := run(t, f)
	<-seen
	f.set(Unit{Name: "mariadb", State: "failed"}, false) // nobody hears of it
	f.mu.Lock()
	f.lost = true
	f.mu.Unlock()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("Run: %v", err)
	}
	if u := w.Units(); len(u) != 1 || !u[0].Active() {
		t.Errorf("meanwhile the last look counts: %+v", u)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- w.Run(ctx) }()
	<-seen
	if u := w.Units(); len(u) != 1 || u[0].State != "failed" {
		t.Errorf("after the next look: %+v", u)
	}
	cancel()
	if err := <-ended; err != nil || f.sessions != 2 {
		t.Errorf("Run: %v, %d sessions", err, f.sessions)
	}
}

func TestSystemdDoesNotAnswer(t *testing.T) {
	f := newFake()
	f.err = errors.New("no answer")
	_, _, _, ended, _ := run(t, f)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("Run: %v", err)
	}
}
