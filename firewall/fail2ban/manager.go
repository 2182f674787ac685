package fail2ban

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// fileName comes after Debian's own in jail.d, and before jail.local.
	fileName = "sae-agent-jails.conf"
	// reconcileEvery finds a server that was started, stopped or configured otherwise.
	reconcileEvery = 5 * time.Minute
	// retryFirst is the first pause when something is wrong.
	retryFirst = 5 * time.Second
	// startTime is for a server that starts when we do, with the machine or the package: until then it is not missed.
	startTime = 8 * time.Second
	// askTime is how long one reconciliation may take: the client is a Python program.
	askTime = 2 * time.Minute
)

// Options are what the manager needs besides its configuration.
type Options struct {
	Logger *slog.Logger // default: discard
	Run    RunFunc      // runs fail2ban-client
	Dir    string       // default /etc/fail2ban
	Socket string       // default: where fail2ban's configuration says
	// OnReconcile is called after each reconciliation with its duration and its error. Nil: it is not called.
	OnReconcile func(time.Duration, error)
}

// Status is how fail2ban is.
type Status struct {
	Installed bool
	Up        bool     // the server answers
	Jails     []string // of ours, those that run
	Problem   string   // what is wrong; empty when nothing is
	Fix       string   // what to do about it, where that is known
}

// has reports whether a jail of ours runs.
func (s Status) has(jail string) bool { return slices.Contains(s.Jails, jail) }

// Manager keeps our jails as they should be.
type Manager struct {
	opts   Options
	log    *slog.Logger
	client *client
	due    signal.Signal // a look is due

	mu     sync.Mutex // guards the following
	cfg    Config
	status Status
}

// New returns a manager that Run starts.
func New(cfg Config, opts Options) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Dir == "" {
		opts.Dir = "/etc/fail2ban"
	}
	if opts.OnReconcile == nil {
		opts.OnReconcile = func(time.Duration, error) {}
	}
	return &Manager{
		opts: opts, log: opts.Logger, due: signal.New(), cfg: cfg,
		client: &client{run: opts.Run, config: opts.Dir, socket: opts.Socket},
	}, nil
}

// Run keeps the jails until ctx ends. They stay as they are then.
func (m *Manager) Run(ctx context.Context) error {
	pause := retryFirst
	started := time.Now()
	for {
		began := time.Now()
		err := m.reconcile(ctx, began.Sub(started) < startTime)
		if ctx.Err() != nil {
			return nil
		}
		m.opts.OnReconcile(time.Since(began), err)
		wait := reconcileEvery
		if err != nil { // the server may be about to start, as at boot
			wait, pause = pause, min(2*pause, reconcileEvery)
		} else {
			pause = retryFirst
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.due.C():
		case <-time.After(wait):
		}
	}
}

// Apply gives the manager a new configuration, which is acted on soon.
func (m *Manager) Apply(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	m.cfg = cfg
	m.mu.Unlock()
	m.due.Notify()
	return nil
}

// Status returns how fail2ban was at the last look.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.status
	st.Jails = slices.Clone(st.Jails)
	return st
}

// reconcile makes the file and the server as they should be. A server that may be starting is not missed.
func (m *Manager) reconcile(ctx context.Context, starting bool) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	m.mu.Lock()
	cfg := m.cfg
	m.mu.Unlock()
	st, err := m.sync(ctx, cfg)
	if err != nil && ctx.Err() == nil {
		st.Problem = err.Error()
	}
	if starting && errors.Is(err, errDown) {
		st.Problem, st.Fix = "", ""
	}
	m.mu.Lock()
	changed := !reflect.DeepEqual(st, m.status)
	m.status = st
	m.mu.Unlock()
	if changed && st.Problem != "" {
		m.log.Warn("fail2ban is not as it should be", "err", st.Problem)
	} else if changed && err == nil {
		m.log.Info("fail2ban", "jails", strings.Join(st.Jails, " "))
	}
	return err
}

// sync writes the file, has the server read it, and returns how things are then.
func (m *Manager) sync(ctx context.Context, cfg Config) (Status, error) {
	var st Status
	if _, err := os.Stat(filepath.Join(m.opts.Dir, "jail.conf")); err != nil {
		if len(cfg.Jails) == 0 && errors.Is(err, fs.ErrNotExist) {
			return st, nil
		}
		st.Fix = "apt install fail2ban"
		return st, errors.New("fail2ban is not installed, so nobody is banned for what only logs tell")
	}
	st.Installed = true
	undo, changed, err := m.write(cfg)
	if err != nil {
		return st, err
	}
	if st.Up = m.client.up(ctx); !st.Up {
		if len(cfg.Jails) == 0 {
			return st, nil
		}
		st.Fix = "systemctl unmask fail2ban; systemctl enable --now fail2ban"
		return st, errDown
	}
	missing, err := m.missing(ctx, cfg)
	if err == nil && (changed || len(missing) > 0) {
		if err = m.client.reload(ctx); err == nil {
			missing, err = m.missing(ctx, cfg)
		}
	}
	if err != nil {
		return st, errors.Join(err, undo())
	}
	for _, j := range cfg.Jails {
		if !slices.Contains(missing, j.Name) {
			st.Jails = append(st.Jails, j.Name)
		}
	}
	if len(missing) > 0 {
		return st, fmt.Errorf("fail2ban does not run the jails %s: /var/log/fail2ban.log says why", strings.Join(missing, ", "))
	}
	return st, nil
}

// missing lists our jails that do not run.
func (m *Manager) missing(ctx context.Context, cfg Config) (missing []string, err error) {
	running, err := m.client.jails(ctx)
	for _, j := range cfg.Jails {
		if !slices.Contains(running, j.Name) {
			missing = append(missing, j.Name)
		}
	}
	return missing, err
}

// write makes the file as it should be. undo puts back what was there.
func (m *Manager) write(cfg Config) (undo func() error, changed bool, err error) {
	path := filepath.Join(m.opts.Dir, "jail.d", fileName)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("fail2ban: %w", err)
	}
	var text []byte
	if len(cfg.Jails) > 0 {
		text = Render(cfg)
	}
	if bytes.Equal(old, text) {
		return func() error { return nil }, false, nil
	}
	put := func(text []byte) error {
		if text == nil {
			return os.Remove(path)
		}
		return renameio.WriteFile(path, text, 0o644)
	}
	if err := put(text); err != nil {
		return nil, false, fmt.Errorf("fail2ban: write its jails: %w", err)
	}
	return func() error { return put(old) }, true, nil
}

// Unban takes back the bans of all senders in a network, in every jail. That
// nobody is banned there is no error, nor that fail2ban does not run.
func (m *Manager) Unban(ctx context.Context, from netip.Prefix) error {
	if !m.client.up(ctx) {
		return nil
	}
	return m.client.unban(ctx, from)
}

// UnbanAll takes back all bans, in every jail.
func (m *Manager) UnbanAll(ctx context.Context) error {
	if !m.client.up(ctx) {
		return nil
	}
	return m.client.unbanAll(ctx)
}

// Remove takes our jails away from fail2ban, whose manager must have ended. Where the rest of the configuration is not
// valid, the server keeps it and only our jails end.
func Remove(ctx context.Context, opts Options) error {
	m, err := New(Config{}, opts)
	if err != nil {
		return err
	}
	path := filepath.Join(m.opts.Dir, "jail.d", fileName)
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fail2ban: %w", err)
	}
	if _, _, err := m.write(m.cfg); err != nil {
		return err
	}
	if !m.client.up(ctx) {
		return nil
	}
	reloaded := m.client.reload(ctx)
	if reloaded == nil {
		return nil
	}
	for _, jail := range jailHead.FindAllSubmatch(old, -1) {
		if _, err := m.client.ask(ctx, "stop", string(jail[1])); err != nil {
			return errors.Join(reloaded, fmt.Errorf("fail2ban: end the jail %s: %w", jail[1], err))
		}
	}
	return nil
}

// jailHead begins a jail in the file.
var jailHead = regexp.MustCompile(`(?m)^\[(.+)\]$`)
