package firewall

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// upkeepEvery is how often the kernel is asked whom it has banned, and what no
	// event tells is looked for.
	upkeepEvery = 10 * time.Second
	// saveEvery bounds how often bans are written: one at once, those that follow
	// together.
	saveEvery = time.Second
	// Repairs: as many at once, then one in a while, so that two managers never fight.
	repairBurst = 10
	repairEvery = 5 * time.Second
)

// Options are what the manager needs besides its configuration.
type Options struct {
	Logger *slog.Logger // default: discard
	// OnChange is told of every change of Status. It MUST NOT block.
	OnChange func(Status)
	// OnOthers is told when tables or chains of others may have come or gone, see
	// Foreigners. It MUST NOT block.
	OnOthers func()
	// OnReconcile is called after every look with how long it took and its error. It MUST NOT block.
	OnReconcile func(took time.Duration, err error)
	// Exempt returns networks that must not be banned now, besides those that the
	// configuration names: the machine's own, its containers', the operator's.
	Exempt func() []netip.Prefix
	// Resolve looks a host name up. Default: the machine's resolver.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
}

// Status is how the ruleset is.
type Status struct {
	Active  bool      // our rules are in force
	Since   time.Time // when they were loaded last
	Repairs uint64    // times that they were put back
	Problem string    // what is wrong, or empty
}

// Manager keeps the ruleset in force, and the bans.
type Manager struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	due     signal.Signal // a look is due
	names   signal.Signal // the same, for the allow list's names

	// For those who must not wait for mu.
	published atomic.Pointer[Status]
	current   atomic.Pointer[Config]

	mu     sync.Mutex // guards the following; held while nft runs
	cfg    Config
	loaded string // fingerprint of what was loaded last; empty: nothing was
	status Status
	limit  *rate.Limiter
	bans   map[netip.Addr]record // those in force, and those that are remembered
	dirty  bool                  // bans differ from the file
	saved  time.Time             // when they were written
	phones []netip.Addr          // by SetKnown
	named  []netip.Addr          // addresses of AllowNames
	// inKernel is whom the kernel's set of known senders holds: phones and named, unless it could not be loaded.
	inKernel []netip.Addr
	slow     map[netip.Addr]time.Time
}

// New returns a manager that Run starts. It reads the bans that are kept.
func New(cfg Config, opts Options) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.OnChange == nil {
		opts.OnChange = func(Status) {}
	}
	if opts.OnOthers == nil {
		opts.OnOthers = func() {}
	}
	if opts.OnReconcile == nil {
		opts.OnReconcile = func(time.Duration, error) {}
	}
	if opts.Exempt == nil {
		opts.Exempt = func() []netip.Prefix { return nil }
	}
	if opts.Resolve == nil {
		opts.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	m := &Manager{
		opts: opts, log: opts.Logger, metrics: newMetrics(), due: signal.New(), names: signal.New(),
		cfg: cfg, limit: newLimit(), slow: make(map[netip.Addr]time.Time),
	}
	m.published.Store(&Status{})
	m.current.Store(&cfg)
	var err error
	if m.bans, err = loadBans(cfg.StateDir, time.Now()); err != nil {
		m.log.Error("bans of the past are lost", "err", err)
	}
	return m, nil
}

func newLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(repairEvery), repairBurst) }

// Run keeps the ruleset in force until ctx ends. The rules stay as they are then.
// It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	events, err := newMonitor()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { events.run(ctx, m.wake, m.opts.OnOthers) })
	if err := m.enforce(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	running.Go(func() { m.resolve(ctx) })
	upkeep, save := time.NewTicker(upkeepEvery), time.NewTicker(saveEvery)
	defer upkeep.Stop()
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			m.locked(func() { m.save() })
			return nil
		case <-m.due.C():
			m.reconcile(ctx)
		case <-save.C:
			m.locked(func() { m.save() })
		case <-upkeep.C:
			m.upkeep(ctx)
		}
	}
}

func (m *Manager) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// wake makes the manager look soon.
func (m *Manager) wake() { m.due.Notify() }

// enforce loads the rules, and takes over whom the kernel has banned meanwhile.
func (m *Manager) enforce(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.inForce(ctx); err != nil {
		return err
	}
	return m.put(ctx)
}

// Apply gives the manager a new configuration and puts it in force, as a whole or
// not at all. Bans and the counts of the shield go on.
func (m *Manager) Apply(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if reflect.DeepEqual(cfg, m.cfg) && m.status.Active == !cfg.Disabled {
		return nil
	}
	before := m.cfg
	m.cfg, m.limit = cfg, newLimit()
	if err := m.put(ctx); err != nil {
		m.cfg = before // whose rules are still in force
		return err
	}
	m.current.Store(&cfg)
	m.names.Notify()
	return nil
}

// put makes the kernel's table as the configuration says. The caller holds m.mu.
func (m *Manager) put(ctx context.Context) error {
	err := m.replace(ctx)
	m.metrics.loads.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		m.report(func(st *Status) { st.Problem = err.Error() })
		return err
	}
	m.report(func(st *Status) {
		*st = Status{Active: !m.cfg.Disabled, Since: time.Now(), Repairs: st.Repairs}
	})
	return nil
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "loaded"
}

func (m *Manager) replace(ctx context.Context) error {
	if m.cfg.Disabled {
		m.loaded = ""
		return Remove(ctx, m.cfg.StateDir)
	}
	m.loaded = ""
	if err := install(ctx, m.cfg, m.restore(time.Now())); err != nil {
		return err
	}
	m.inKernel = m.known()
	var err error
	if m.loaded, err = fingerprint(ctx); err != nil {
		return err
	}
	if m.cfg.Tentative || m.cfg.StateDir == "" {
		return nil
	}
	return write(m.cfg.StateDir, rulesetFile, []byte(Render(m.cfg)))
}

// report changes the status and tells of it. The caller holds m.mu.
func (m *Manager) report(change func(*Status)) {
	before := m.status
	change(&m.status)
	if after := m.status; after != before {
		m.published.Store(&after)
		m.opts.OnChange(after)
	}
}

// reconcile compares what is in force with what should be, repairs it, and reports the result.
func (m *Manager) reconcile(ctx context.Context) {
	began := time.Now()
	m.mu.Lock()
	err := m.reconcileLocked(ctx)
	m.mu.Unlock()
	if ctx.Err() == nil {
		m.opts.OnReconcile(time.Since(began), err)
	}
}

// errFight says that somebody takes our rules away again and again.
var errFight = errors.New("somebody takes our rules away again and again: find out who (journalctl -b; nftables.service, another firewall) and stop it")

// reconcileLocked does the work of reconcile. The
// caller holds m.mu.
func (m *Manager) reconcileLocked(ctx context.Context) error {
	if m.cfg.Disabled {
		return nil
	}
	now, err := fingerprint(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if now == m.loaded && now != "" {
		return m.syncKnown(ctx)
	}
	if err != nil && !errors.Is(err, errAbsent) {
		m.log.Error("cannot look at the rules", "err", err)
		return err
	}
	if !m.limit.Allow() {
		m.report(func(st *Status) {
			st.Active = now != ""
			st.Problem = errFight.Error()
		})
		time.AfterFunc(repairEvery, m.wake)
		return errFight
	}
	return m.repair(ctx, now)
}

// repair puts the rules back. The caller holds m.mu.
func (m *Manager) repair(ctx context.Context, found string) error {
	what := "changed"
	if found == "" {
		what = "removed"
	}
	err := m.put(ctx)
	if errors.Is(err, errAbsent) { // gone again already
		m.wake()
		return err
	}
	if err != nil {
		m.log.Error("somebody "+what+" our rules, and they cannot be put back", "err", err)
		return err // the upkeep tries again
	}
	m.metrics.repairs.Inc()
	m.report(func(st *Status) { st.Repairs++ })
	m.log.Warn("somebody " + what + " our rules, put them back")
	return nil
}

// upkeep notes whom the kernel has banned, forgets what is long past, and looks.
func (m *Manager) upkeep(ctx context.Context) {
	m.locked(func() {
		now := time.Now()
		if _, err := m.inForce(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("cannot read the bans", "err", err)
		}
		for a, r := range m.bans {
			if now.Sub(r.Until) > memory {
				delete(m.bans, a)
				m.dirty = true
			}
		}
		for a, until := range m.slow {
			if now.After(until) {
				delete(m.slow, a)
			}
		}
	})
	m.reconcile(ctx)
}

// save writes the bans if they have changed. The caller holds m.mu.
func (m *Manager) save() {
	if !m.dirty {
		return
	}
	if err := saveBans(m.cfg.StateDir, m.bans); err != nil {
		m.log.Error("the bans cannot be kept: they end with the next reboot", "err", err)
		return
	}
	m.dirty = false
	m.saved = time.Now()
}

// Status says how the ruleset is.
func (m *Manager) Status() Status { return *m.published.Load() }

// Config returns the configuration that is in force.
func (m *Manager) Config() Config { return *m.current.Load() }
