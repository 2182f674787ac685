package netcfg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	// reconcileEvery finds what no event tells, such as forwarding.
	reconcileEvery = 5 * time.Second
	// contestedEvery finds that another manager has left a card: NetworkManager takes its addresses off before it says so.
	// Nobody has the card meanwhile.
	contestedEvery = 500 * time.Millisecond
	// ownersEvery is how often other managers of our cards are looked for.
	ownersEvery = 30 * time.Second
	retryDelay  = time.Second
)

// Options are what the manager needs besides its configuration.
type Options struct {
	Logger *slog.Logger // default: discard
	// OnChange is told of every change of Status. It MUST NOT block.
	OnChange func(Status)
	// OnReconcile is called after every look with how long it took and its error. It MUST NOT block.
	OnReconcile func(took time.Duration, err error)
	// ResolvConf is the file that gets the WAN's resolvers, such as
	// /etc/resolv.conf; empty: none does.
	ResolvConf string
	// Root is where /etc, /run and /proc are looked for to find other managers;
	// default /.
	Root string
}

// Manager keeps the cards as they should be.
type Manager struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	due     signal.Signal // a look is due
	applied chan chan error
	status  atomic.Pointer[Status] // at the last look; nil before

	mu      sync.Mutex // guards the following
	cfg     Config
	lease   *Lease
	ours    owned
	limit   *limiter
	settled bool // everything was as it should be once, so that a difference is drift
	owners  map[string][]Owner
	checked time.Time // when owners were looked for
	repairs map[string]uint64
	problem map[string]string
}

// New returns a manager that Run starts.
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
	if opts.OnReconcile == nil {
		opts.OnReconcile = func(time.Duration, error) {}
	}
	if opts.Root == "" {
		opts.Root = "/"
	}
	return &Manager{
		opts: opts, log: opts.Logger, metrics: newMetrics(), due: signal.New(), applied: make(chan chan error),
		cfg: cfg, ours: loadOwned(cfg.StateDir), limit: newLimiter(), repairs: make(map[string]uint64), problem: make(map[string]string),
	}, nil
}

// Run keeps the cards as they should be until ctx ends. Addresses, routes and
// forwarding stay as they are then. It may be called once.
func (m *Manager) Run(ctx context.Context) error {
	k, err := newKernel()
	if err != nil {
		return err
	}
	defer k.close()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { m.follow(ctx) })
	stopWAN := m.startWAN(ctx)
	defer func() { stopWAN() }()
	m.reconcile(k)
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-m.applied:
			stopWAN()
			stopWAN = m.startWAN(ctx)
			m.reconcile(k)
			done <- nil
		case <-m.due.C():
			m.reconcile(k)
		case <-time.After(m.nextLook()):
			m.reconcile(k)
		}
	}
}

// nextLook is how long to wait for an event until everything is looked at.
func (m *Manager) nextLook() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contested() {
		return contestedEvery
	}
	return reconcileEvery
}

// Once makes the cards as cfg says, now, and leaves them so: for when nobody stays
// to keep them. A WAN by DHCP gets the lease that is kept, if that is still good.
func Once(ctx context.Context, cfg Config, opts Options) error {
	m, err := New(cfg, opts)
	if err != nil {
		return err
	}
	k, err := newKernel()
	if err != nil {
		return err
	}
	defer k.close()
	m.lease = loadLease(cfg.StateDir, cfg.WAN.Name, time.Now())
	m.reconcile(k)
	if err := ctx.Err(); err != nil {
		return err
	}
	var problems []error
	for _, what := range m.problem {
		problems = append(problems, errors.New("netcfg: "+what))
	}
	return errors.Join(problems...)
}

// follow wakes the manager after every event, and subscribes again when events
// were lost.
func (m *Manager) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := watch(ctx.Done(), m.wake); err != nil {
			m.log.Debug("network events were lost, looking at everything", "err", err)
			m.wake()
			select {
			case <-ctx.Done():
			case <-time.After(retryDelay):
			}
		}
	}
}

// wake makes the manager look soon.
func (m *Manager) wake() {
	m.due.Notify()
}

// startWAN runs the DHCP client if the WAN has one, and returns how to stop it.
func (m *Manager) startWAN(ctx context.Context) (stop func()) {
	m.mu.Lock()
	cfg := m.cfg
	m.lease = nil
	if cfg.WAN.Method == MethodDHCP { // here and now, or the first look would take its address away
		m.lease = loadLease(cfg.StateDir, cfg.WAN.Name, time.Now())
	}
	m.mu.Unlock()
	if cfg.WAN.Method != MethodDHCP {
		return func() {}
	}
	c := newClient(cfg.WAN.Name, cfg.StateDir, m.log, m.metrics, m.setLease)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// setLease takes the WAN's lease over; nil when there is none.
func (m *Manager) setLease(l *Lease) {
	m.mu.Lock()
	m.lease = l
	m.settled = false // what follows is no drift
	m.mu.Unlock()
	m.wake()
}

// Apply gives the manager a new configuration and returns when it has been acted
// on. Before Run it is only noted.
func (m *Manager) Apply(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	if !reflect.DeepEqual(cfg, m.cfg) {
		m.settled = false
		m.cfg, m.checked, m.limit = cfg, time.Time{}, newLimiter()
	}
	m.mu.Unlock()
	done := make(chan error, 1)
	select {
	case m.applied <- done:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("netcfg: apply: %w", ctx.Err())
	}
}

// Plan lists what would be changed to make the cards as cfg says. It changes nothing.
func (m *Manager) Plan(_ context.Context, cfg Config) ([]Change, error) {
	k, err := newKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := wantedOf(cfg, m.lease)
	is, err := k.read(m.names(want))
	if err != nil {
		return nil, err
	}
	return makePlan(want, cfg.Forwarding, is, m.ours), nil
}

// wantedOf takes configuration and lease together.
func wantedOf(cfg Config, lease *Lease) []wanted {
	var out []wanted
	for _, l := range []Link{cfg.WAN, cfg.LAN} {
		if !l.managed() {
			continue
		}
		w := wanted{name: l.Name, mtu: l.MTU, addresses: l.Addresses}
		gateway := l.Gateway
		if l.Method == MethodDHCP {
			w.addresses, gateway = nil, netip.Addr{}
			if lease != nil {
				w.addresses, gateway = []netip.Prefix{lease.Address}, lease.Router
				w.routes = outsideOf(cfg.LAN, lease.Routes)
			}
		}
		if gateway.IsValid() {
			w.routes = append(w.routes, defaultRoute(gateway))
		}
		out = append(out, w)
	}
	if cfg.LAN.managed() {
		out[len(out)-1].neighbours = neighbours(cfg.LAN.Addresses)
	}
	return out
}

// outsideOf returns the routes that touch no network of the LAN: a provider's
// server must not have the LAN's packets sent to it.
func outsideOf(lan Link, routes []Route) (out []Route) {
	for _, r := range routes {
		if !slices.ContainsFunc(lan.Addresses, r.Destination.Overlaps) && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// names are the cards that matter: wanted, or once ours. The caller holds m.mu.
func (m *Manager) names(want []wanted) []string {
	var names []string
	for _, w := range want {
		names = append(names, w.name)
	}
	for name := range m.ours {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, l := range []Link{m.cfg.WAN, m.cfg.LAN} {
		if l.Method == MethodExternal && !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	return names
}

// reconcile compares what is with what should be, repairs it, and reports the result.
func (m *Manager) reconcile(k *kernel) {
	began := time.Now()
	m.mu.Lock()
	err := m.reconcileLocked(k)
	m.mu.Unlock()
	if err != nil {
		m.log.Error("cannot look at the network", "err", err)
	}
	m.opts.OnReconcile(time.Since(began), err)
}

// reconcileLocked does the work of reconcile. The caller holds m.mu.
func (m *Manager) reconcileLocked(k *kernel) error {
	want := wantedOf(m.cfg, m.lease)
	is, err := k.read(m.names(want))
	if err != nil {
		return err
	}
	m.findOwners(is)
	clear(m.problem)
	plan := makePlan(want, m.cfg.Forwarding, is, m.ours)
	if changed := m.applyPlan(k, plan); changed {
		if now, err := k.read(m.names(want)); err == nil {
			is = now
		}
	}
	m.settled = m.settled || len(makePlan(want, m.cfg.Forwarding, is, m.ours)) == 0
	m.report(is)
	return nil
}

// applyPlan makes the changes of a plan, but for cards that somebody else manages and
// for what is being fought about. The caller holds m.mu.
func (m *Manager) applyPlan(k *kernel, plan []Change) (changed bool) {
	now := time.Now().UnixNano()
	for _, c := range plan {
		if owners := m.owners[c.Link]; len(owners) > 0 && c.Link != "" {
			m.problem[c.Link] = fmt.Sprintf("%s (%s) manages %s, so we do not: %s", owners[0].Manager, owners[0].Evidence, c.Link, owners[0].Advice)
			continue
		}
		if m.settled {
			ok, began := m.limit.allow(c, now)
			if began {
				m.log.Warn("somebody undoes our network settings again and again, pausing", "change", c.String(), "pause", time.Duration(fightPause))
				m.metrics.fights.Inc()
			}
			if !ok {
				continue
			}
		}
		changed = m.make(k, c) || changed
	}
	for _, c := range m.limit.fighting(now) {
		m.problem[c.Link] = fmt.Sprintf("somebody else undoes %q again and again: find out who (journalctl -b, nmcli device, networkctl) and have it leave %s alone", c, c.Link)
	}
	return changed
}

// make makes one change. The caller holds m.mu.
func (m *Manager) make(k *kernel, c Change) bool {
	if c.Kind == AddAddress { // before it is there: a crash between must not leave an address that nobody removes
		m.ours.add(c.Link, c.Address)
		m.saveOwned()
	}
	if err := k.do(c); err != nil {
		m.problem[c.Link] = fmt.Sprintf("cannot %s: %v", c, err)
		m.metrics.changes.WithLabelValues(string(c.Kind), "failed").Inc()
		m.log.Error("cannot change the network", "change", c.String(), "err", err)
		return false
	}
	if c.Kind == RemoveAddress {
		m.ours.remove(c.Link, c.Address)
		m.saveOwned()
	}
	m.metrics.changes.WithLabelValues(string(c.Kind), "made").Inc()
	if m.settled {
		m.repairs[c.Link]++
		m.log.Warn("somebody changed the network, put it back", "change", c.String())
	} else {
		m.log.Info("network changed", "change", c.String())
	}
	return true
}

func (m *Manager) saveOwned() {
	if err := m.ours.save(m.cfg.StateDir); err != nil {
		m.log.Error("cannot note which addresses are ours", "err", err)
	}
}

// findOwners looks for other managers of our cards, now and then, and at every
// look whether one that there was has left. The caller holds m.mu.
func (m *Manager) findOwners(is machine) {
	if time.Since(m.checked) < ownersEvery && !m.contested() {
		return
	}
	m.checked = time.Now()
	m.owners = make(map[string][]Owner)
	clients := dhcpClients(m.opts.Root)
	for _, l := range []Link{m.cfg.WAN, m.cfg.LAN} {
		if l.managed() {
			m.owners[l.Name] = ownersIn(m.opts.Root, l.Name, is.Links[l.Name].Index, clients)
		}
	}
}

// contested reports whether somebody else managed a card at the last look. The caller
// holds m.mu.
func (m *Manager) contested() bool {
	for _, owners := range m.owners {
		if len(owners) > 0 {
			return true
		}
	}
	return false
}
