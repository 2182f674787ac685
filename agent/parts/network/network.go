// Package network is the part that keeps the two cards: addresses, routes,
// forwarding, and the WAN's own address.
package network

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/netcfg"
)

const name = "network"

// Part keeps the cards.
type Part struct {
	host    part.Host
	manager atomic.Pointer[netcfg.Manager] // nil while none runs
}

// New returns the part.
func New(h part.Host) *Part { return &Part{host: h} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[netcfg.Config]{
		Name: name,
		Desired: func(_ context.Context, in part.Input) (netcfg.Config, bool, error) {
			return Desired(in.Config, p.host.Paths().InState(stateDir)), true, nil
		},
		Build: p.build,
	})}
}

// stateDir is the part's folder in the state folder.
const stateDir = "network"

// Desired is what the cards should be. What the WAN was given is remembered below dir.
func Desired(c *config.Config, dir string) netcfg.Config {
	n := netcfg.Config{
		LAN: netcfg.Link{
			Name: c.LAN.Interface, Method: netcfg.MethodStatic, MTU: c.LAN.MTU, Addresses: []netip.Prefix{c.LAN.Address},
		},
		StateDir: dir,
	}
	w := netcfg.Link{Name: c.WAN.Interface, MTU: c.WAN.MTU, DNS: c.WAN.DNS}
	switch c.WAN.Method {
	case config.WANDHCP:
		w.Method = netcfg.MethodDHCP
	case config.WANStatic:
		w.Method, w.Addresses, w.Gateway = netcfg.MethodStatic, []netip.Prefix{c.WAN.Address}, c.WAN.Gateway
	case config.WANExternal:
		w.Method = netcfg.MethodExternal
	case config.WANNone:
		return n
	}
	n.WAN, n.Forwarding = w, true
	return n
}

func (p *Part) build(_ context.Context, c netcfg.Config) (part.Run[netcfg.Config], error) {
	m, err := netcfg.New(c, netcfg.Options{
		Logger: p.host.Logger(name), ResolvConf: p.host.Paths().ResolvConf,
		OnChange:    func(netcfg.Status) { p.host.Changed() },
		OnReconcile: func(took time.Duration, err error) { p.host.Reconciled(name, took, err) },
	})
	if err != nil {
		return part.Run[netcfg.Config]{}, err
	}
	return part.Run[netcfg.Config]{
		Run: func(ctx context.Context) error {
			p.manager.Store(m)
			defer p.manager.Store(nil)
			return m.Run(ctx)
		},
		Apply:      m.Apply,
		Collectors: []prometheus.Collector{m},
	}, nil
}

// Resolvers are the WAN's name servers; empty while none is known. Those of the file are known before the cards are
// looked at.
func (p *Part) Resolvers() []netip.Addr {
	if dns := p.host.Running().Config.WAN.DNS; len(dns) > 0 {
		return dns
	}
	m := p.manager.Load()
	if m == nil {
		return nil
	}
	return m.Status().Resolvers
}

// Plan implements part.Planner.
func (p *Part) Plan(ctx context.Context, next part.Input, plan *control.Plan) {
	m := p.manager.Load()
	if m == nil {
		return
	}
	changes, err := m.Plan(ctx, Desired(next.Config, p.host.Paths().InState(stateDir)))
	if err != nil {
		p.host.Logger(name).Warn("cannot tell what would change of the network", "err", err)
	}
	for _, c := range changes {
		plan.Machine = append(plan.Machine, c.String())
	}
}

// LocksOut implements part.Gatekeeper.
func (p *Part) LocksOut(ctx context.Context, next part.Input, s part.Session) []string {
	m := p.manager.Load()
	if m == nil {
		return nil // whatever becomes of the cards, it is not by this change
	}
	changes, err := m.Plan(ctx, Desired(next.Config, p.host.Paths().InState(stateDir)))
	if err != nil {
		p.host.Logger(name).Warn("cannot tell what would change of the network", "err", err)
	}
	return locksOut(changes, s)
}

// ApplyOffline implements part.OfflineApplier.
func (p *Part) ApplyOffline(ctx context.Context, in part.Input) error {
	return netcfg.Once(ctx, Desired(in.Config, p.host.Paths().InState(stateDir)), netcfg.Options{
		Logger: p.host.Logger(name), ResolvConf: p.host.Paths().ResolvConf,
	})
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	m := p.manager.Load()
	if m == nil {
		return nil
	}
	now := m.Status()
	st.Network = links(now)
	return slices.Concat(problems("wan", now.WAN), problems("lan", now.LAN))
}

func links(st netcfg.Status) []control.NetworkLink {
	var out []control.NetworkLink
	for _, l := range []struct {
		role string
		netcfg.LinkStatus
	}{{"wan", st.WAN}, {"lan", st.LAN}} {
		if l.Method == netcfg.MethodNone {
			continue
		}
		n := control.NetworkLink{
			Role: l.role, Name: l.Name, Method: string(l.Method), Up: l.Up && l.Carrier, Repairs: l.Repairs, Error: l.Problem,
		}
		for _, p := range l.Addresses {
			n.Addresses = append(n.Addresses, p.String())
		}
		if l.Gateway.IsValid() {
			n.Gateway = l.Gateway.String()
		}
		if l.role == "wan" {
			for _, r := range st.Resolvers {
				n.DNS = append(n.DNS, r.String())
			}
		}
		out = append(out, n)
	}
	return out
}

// problems says what is wrong with a card. Phones work without the Internet, not without the LAN.
func problems(role string, l netcfg.LinkStatus) (out []problem.Problem) {
	severity := problem.Error
	if role == "wan" {
		severity = problem.Warning
	}
	if l.Problem == "" {
		return nil
	}
	for _, o := range l.Owners {
		if pulled(l) {
			break // whoever manages it
		}
		p := problem.ManagedCard(l.Name, o.Manager, o.Evidence, o.Advice)
		p.Severity, p.Part = severity, name
		out = append(out, p)
	}
	if len(out) > 0 {
		return out
	}
	return append(out, problem.Problem{
		ID: problem.LinkTrouble, Severity: severity, Part: name, Subject: l.Name, What: l.Name + ": " + l.Problem, Fix: fix(role, l),
	})
}

func pulled(l netcfg.LinkStatus) bool { return l.Up && !l.Carrier }

// fix says what a person can do about a card that nobody else manages.
func fix(role string, l netcfg.LinkStatus) string {
	switch {
	case !l.Exists:
		return problem.FixNoCard(role)
	case pulled(l):
		return problem.FixNoLink(l.Name)
	case l.Method == netcfg.MethodDHCP && l.Lease == nil:
		return "look at the cable of " + l.Name + " and at the router that it leads to; a provider without DHCP takes wan.method: static"
	case role == "wan" && l.Addressed && !l.Gateway.IsValid():
		return "set wan.method: static with wan.gateway, or look at who manages the card"
	}
	return "sae-agent logs --part network says what happened to it"
}
