// Package firewall is the part that keeps the ruleset and the bans.
package firewall

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const name = "firewall"

// stateDir is the part's folder in the state folder.
const stateDir = "firewall"

// Deps are facts of other parts, and orders to them.
type Deps struct {
	// Registered lists the devices outside of the LAN that are registered at the
	// exchange; ok is false while that is not known.
	Registered func() (addrs []netip.Addr, ok bool)
	// LiftElsewhere lifts a sender's ban, or everybody's when addr is the zero Addr,
	// where other programs note it.
	LiftElsewhere func(ctx context.Context, addr netip.Addr) error
}

// Part keeps ruleset and bans.
type Part struct {
	host    part.Host
	deps    Deps
	manager atomic.Pointer[firewall.Manager] // nil while none runs
	known   signal.Signal                    // registrations have changed

	mu     sync.Mutex // guards the following
	others Others     // as they were seen last
	seen   time.Time  // when
	due    bool       // they are to be looked for at the next occasion
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d, known: signal.New()} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[firewall.Config]{
		Name: name,
		Desired: func(ctx context.Context, in part.Input) (firewall.Config, bool, error) {
			return Desired(in.Config, p.facts(ctx, in), p.dir()), true, nil
		},
		Build: p.build,
	})}
}

func (p *Part) dir() string { return p.host.Paths().InState(stateDir) }

func (p *Part) facts(ctx context.Context, in part.Input) Facts {
	return Facts{SSHPorts: sshd.Ports("/"), Tentative: in.Pending, Others: p.watchOthers(ctx)}
}

func (p *Part) build(_ context.Context, c firewall.Config) (part.Run[firewall.Config], error) {
	m, err := firewall.New(c, firewall.Options{
		Logger: p.host.Logger(name), Exempt: exemptNets,
		OnChange:    func(firewall.Status) { p.host.Changed() },
		OnOthers:    p.othersChanged,
		OnReconcile: func(took time.Duration, err error) { p.host.Reconciled(name, took, err) },
	})
	if err != nil {
		return part.Run[firewall.Config]{}, err
	}
	return part.Run[firewall.Config]{
		Run: func(ctx context.Context) error {
			p.manager.Store(m)
			defer p.manager.Store(nil)
			following, cancel := context.WithCancel(ctx)
			followed := make(chan struct{})
			go func() { defer close(followed); p.followRegistrations(following, m) }()
			err := m.Run(ctx)
			cancel()
			<-followed
			return err
		},
		Apply:      m.Apply,
		Collectors: []prometheus.Collector{m},
	}, nil
}

// RegistrationsChanged says that Deps.Registered has something new. It never waits.
func (p *Part) RegistrationsChanged() { p.known.Notify() }

// knownEvery is how often the ruleset is told who is registered, besides when that
// changes.
const knownEvery = time.Minute

// followRegistrations tells the ruleset which devices outside of the LAN are
// registered: they are not to be banned.
func (p *Part) followRegistrations(ctx context.Context, m *firewall.Manager) {
	tick := time.NewTicker(knownEvery)
	defer tick.Stop()
	for {
		if addrs, ok := p.deps.Registered(); ok {
			if err := m.SetKnown(ctx, addrs); err != nil && ctx.Err() == nil {
				p.host.Logger(name).Error("cannot tell the firewall which phones outside are registered", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.known.C():
		case <-tick.C:
		}
	}
}

// ErrOff is returned by what needs the firewall while none runs.
var ErrOff = errors.New("the firewall is not running: see sae-agent status")

// Running returns the manager that runs, or ErrOff.
func (p *Part) Running() (*firewall.Manager, error) {
	if m := p.manager.Load(); m != nil {
		return m, nil
	}
	return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: ErrOff.Error()}
}

// Plan implements part.Planner.
func (p *Part) Plan(ctx context.Context, next part.Input, plan *control.Plan) {
	now := p.host.Running()
	f := p.facts(ctx, now)
	before, after := Desired(now.Config, f, p.dir()), Desired(next.Config, f, p.dir())
	plan.Firewall = append(plan.Firewall, firewall.PlanOpenings(before, after)...)
	plan.Rules = append(plan.Rules, firewall.Plan(before, after)...)
}

// LocksOut implements part.Gatekeeper.
func (p *Part) LocksOut(ctx context.Context, next part.Input, s part.Session) []string {
	now := p.host.Running()
	f := p.facts(ctx, now)
	return locksOut(Desired(now.Config, f, p.dir()), Desired(next.Config, f, p.dir()), s)
}

// ApplyOffline implements part.OfflineApplier.
func (p *Part) ApplyOffline(ctx context.Context, in part.Input) error {
	others, err := FindOthers(ctx)
	if err != nil {
		return err
	}
	f := Facts{SSHPorts: sshd.Ports("/"), Others: others}
	return firewall.Once(ctx, Desired(in.Config, f, p.dir()), firewall.Options{Logger: p.host.Logger(name)})
}

// Boot implements part.Booter: it puts the ruleset confirmed last and the bans in force.
func (p *Part) Boot(ctx context.Context) error {
	_, err := firewall.Restore(ctx, p.dir())
	return err
}

// Features implements part.Featurer.
func (p *Part) Features(c *config.Config) map[string]bool {
	return map[string]bool{name: c.Firewall.Enabled}
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) []problem.Problem { return p.problems(p.host.Running().Config) }
