// Package machine is the part that watches what all others stand on: clock, disk, memory, the machine's own name and the
// name servers. It changes nothing.
package machine

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
)

const name = "machine"

const (
	// probeEvery is how often the machine is looked at: a few system calls.
	probeEvery = 15 * time.Second
	// resolversEvery is how often each name server is asked, in looks at the machine; new ones are asked at once.
	resolversEvery = 8
)

// Deps are what the part asks of others.
type Deps struct {
	// Resolvers are the name servers that phones and this machine use.
	Resolvers func() []netip.Addr
	// Ask returns nil when a name server answers whatever it answers. Nil: Answers.
	Ask func(ctx context.Context, server netip.AddrPort) error
}

// Part watches the machine.
type Part struct {
	host  part.Host
	deps  Deps
	found atomic.Pointer[[]problem.Problem] // by the last probe; nil while none runs
}

// New returns the part.
func New(h part.Host, d Deps) *Part {
	if d.Ask == nil {
		d.Ask = Answers
	}
	return &Part{host: h, deps: d}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[struct{}]{
		Name:    name,
		Desired: func(context.Context, part.Input) (struct{}, bool, error) { return struct{}{}, true, nil },
		Build: func(context.Context, struct{}) (part.Run[struct{}], error) {
			return part.Run[struct{}]{Run: p.run}, nil
		},
	})}
}

func (p *Part) run(ctx context.Context) error {
	defer p.found.Store(nil)
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var silent []problem.Problem
	var asked []netip.Addr
	for n := 0; ; n++ {
		found, err := p.probe()
		if err != nil {
			return err
		}
		p.note(found, silent)
		if servers := p.deps.Resolvers(); n%resolversEvery == 0 || !slices.Equal(servers, asked) {
			asked, silent = servers, p.silentResolvers(ctx, servers) // which may take a while
			p.note(found, silent)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// note keeps what was found.
func (p *Part) note(found, silent []problem.Problem) {
	all := slices.Concat(found, silent)
	p.found.Store(&all)
}

// probe judges the machine as it is now.
func (p *Part) probe() ([]problem.Problem, error) {
	m, err := doctor.GatherMachine(p.host.Paths().State)
	if err != nil {
		return nil, err
	}
	return judge(m, p.host.Running().Config), nil
}

func judge(m doctor.Machine, c *config.Config) []problem.Problem {
	found := doctor.Judge(doctor.Facts{Config: c, Machine: m}, doctor.MachineChecks())
	for i := range found {
		found[i].Part = name
	}
	return found
}

// silentResolvers asks each name server once, and one that does not answer once more.
func (p *Part) silentResolvers(ctx context.Context, servers []netip.Addr) (out []problem.Problem) {
	for _, r := range servers {
		server := netip.AddrPortFrom(r, dnsPort)
		err := p.deps.Ask(ctx, server)
		if err != nil {
			err = p.deps.Ask(ctx, server)
		}
		if err != nil && ctx.Err() == nil {
			out = append(out, problem.Problem{
				ID: problem.ResolverSilent, Severity: problem.Warning, Part: name, Subject: r.String(),
				What: "the name server " + r.String() + " does not answer: names are found slowly or not at all",
				Fix:  "see to the way to the Internet, or name another in wan.dns; sae-agent apply",
			})
		}
	}
	return out
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) []problem.Problem {
	if found := p.found.Load(); found != nil {
		return slices.Clone(*found)
	}
	return nil
}
