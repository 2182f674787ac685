// Package services watches services that others start and that the appliance needs:
// how each one is, and since when.
//
// It sees them through systemd (Source). A signal of systemd only triggers a new
// look: what is told is what the look has found. It knows nothing of what the
// services do, and starts and stops none.
package services

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Unit is how a service is.
type Unit struct {
	Name    string    // without .service
	State   string    // active, activating, reloading, deactivating, inactive, failed (systemctl(1), "ActiveState")
	Sub     string    // more of it: running, exited, dead
	Enabled bool      // starts with the machine
	Since   time.Time // last change of State; zero: it has not changed since the boot
}

// Active reports whether the service does its work.
func (u Unit) Active() bool { return u.State == "active" || u.State == "reloading" }

// Source is where units are asked for.
type Source interface {
	// Open begins to follow units. The session MUST tell changes from now on, so that
	// none is lost between Open and the first look.
	Open(ctx context.Context) (Session, error)
}

// Session is a connection with the source.
type Session interface {
	// Units returns the units that are installed, of those named (without .service).
	Units(ctx context.Context, names []string) ([]Unit, error)
	// Changed holds a token when a unit may have changed.
	Changed() <-chan struct{}
	// Connected reports whether the session still hears of changes.
	Connected() bool
	Close()
}

const (
	// checkEvery finds what no signal has told.
	checkEvery = 30 * time.Second
	// connectedEvery is how soon a lost connection is noticed.
	connectedEvery = time.Second
	// askTime is how long systemd may take to answer.
	askTime = 10 * time.Second
)

// Watcher knows how units are. It is a prometheus.Collector.
type Watcher struct {
	names    []string
	source   Source
	log      *slog.Logger
	onChange func()

	mu    sync.Mutex // guards the following
	units []Unit     // by name; what the last look has found
}

// New returns a watcher of the units named (without .service). OnChange is told when
// one has changed; it must not block.
func New(names []string, s Source, log *slog.Logger, onChange func()) *Watcher {
	return &Watcher{names: slices.Sorted(slices.Values(names)), source: s, log: log, onChange: onChange}
}

// Units returns the units that are installed, by name.
func (w *Watcher) Units() []Unit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.units)
}

// Run watches until ctx ends, or the connection is lost; then it can be run again.
func (w *Watcher) Run(ctx context.Context) error {
	s, err := w.source.Open(ctx)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	defer s.Close()
	observe, alive := time.NewTicker(checkEvery), time.NewTicker(connectedEvery)
	defer observe.Stop()
	defer alive.Stop()
	for {
		if err := w.observe(ctx, s); err != nil {
			return err
		}
		if err := wait(ctx, s, observe.C, alive.C); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// wait returns when it is time for a new look.
func wait(ctx context.Context, s Session, observe, alive <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Changed():
			return nil
		case <-observe:
			return nil
		case <-alive:
			if !s.Connected() {
				return fmt.Errorf("services: the connection with systemd is lost")
			}
		}
	}
}

// observe asks how the units are.
func (w *Watcher) observe(ctx context.Context, s Session) error {
	bounded, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	units, err := s.Units(bounded, w.names)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	w.mu.Lock()
	before := w.units
	w.units = units
	w.mu.Unlock()
	w.tell(before, units)
	return nil
}

// tell logs what has changed, and says so.
func (w *Watcher) tell(before, now []Unit) {
	if slices.Equal(before, now) {
		return
	}
	for _, u := range now {
		i := slices.IndexFunc(before, func(b Unit) bool { return b.Name == u.Name })
		if i < 0 || before[i].State == u.State {
			continue
		}
		level := slog.LevelInfo
		if u.State == "failed" {
			level = slog.LevelWarn
		}
		w.log.Log(context.Background(), level, "service changed", "unit", u.Name, "from", before[i].State, "to", u.State)
	}
	w.onChange()
}
