// Package defence is the part that sees attacks, at the exchange and in logs, and
// has the senders banned or slowed down.
package defence

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/attacks"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
)

// Names of the units.
const (
	name      = "defence"
	jailsName = "fail2ban"
)

// Firewall is what carries bans out.
type Firewall interface {
	Config() firewall.Config
	Ban(context.Context, firewall.Ban) (firewall.Ban, error)
	Throttle(ctx context.Context, addr netip.Addr, d time.Duration) error
}

// Deps are facts of other parts, and orders to them.
type Deps struct {
	// Firewall is what carries bans out; nil while it does not run.
	Firewall      func() Firewall
	LeasedTo      func(netip.Addr) (net.HardwareAddr, bool)
	ContainerNets func() []netip.Prefix
}

// Part sees attacks.
type Part struct {
	host  part.Host
	deps  Deps
	jails atomic.Pointer[fail2ban.Manager] // nil while none runs

	events       chan pbx.SecurityEvent // from the exchange, which must not wait
	logins, scan *attacks.Counter

	mu         sync.Mutex // guards the following
	complaints map[netip.Addr]complaint
}

// New returns the part.
func New(h part.Host, d Deps) *Part {
	return &Part{
		host: h, deps: d, events: make(chan pbx.SecurityEvent, 1024),
		logins: attacks.NewCounter(loginLimit), scan: attacks.NewCounter(scanLimit), complaints: make(map[netip.Addr]complaint),
	}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{
		part.NewUnit(part.Spec[struct{}]{
			Name:    name,
			Desired: func(context.Context, part.Input) (struct{}, bool, error) { return struct{}{}, true, nil },
			Build: func(context.Context, struct{}) (part.Run[struct{}], error) {
				return part.Run[struct{}]{Run: p.follow}, nil
			},
		}),
		part.NewUnit(part.Spec[fail2ban.Config]{Name: jailsName, Desired: p.desiredJails, Build: p.buildJails}),
	}
}

// Note takes an attempt that the exchange has refused. It never waits: in a flood
// some are lost, and there are more of them.
func (p *Part) Note(e pbx.SecurityEvent) {
	select {
	case p.events <- e:
	default:
	}
}

// follow bans who attacks, as soon as the exchange has said so.
func (p *Part) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-p.events:
			if f := p.deps.Firewall(); f != nil && e.Remote.IsValid() {
				p.defend(ctx, f, e)
			}
		}
	}
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) []problem.Problem {
	return append(p.jailProblems(), p.refused()...)
}
