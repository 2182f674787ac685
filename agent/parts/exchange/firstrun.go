package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx/freepbx"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	// openingEvery is how often FreePBX is looked at while it has no administrator.
	openingEvery = 15 * time.Second
	// openedEvery is the same once it has one.
	openedEvery = 5 * time.Minute
)

// openState is what of FreePBX only an administrator can put right.
type openState struct {
	opening  install.Opening // empty: it is not installed
	rtpPorts config.PortRange
}

// desiredFirstRun is what FreePBX is set to when its first run ends.
func desiredFirstRun(c *config.Config) install.FirstRun {
	return install.FirstRun{Guard: install.Guard{Root: "/"}, Name: c.Site.Name, Language: string(c.Site.Language), Timezone: c.Site.Timezone}
}

func (p *Part) buildFirstRun(_ context.Context, f install.FirstRun) (part.Run[install.FirstRun], error) {
	machine := freepbx.NewMachine(runner.Systemd{}, p.host.Paths().InState("freepbx"))
	machine.Name = "sae-agent-first-run"
	f.PBX, f.Reload = machine, runner.Systemd{}.Reload
	return part.Run[install.FirstRun]{Run: func(ctx context.Context) error { return p.followFreePBX(ctx, f, machine) }}, nil
}

// followFreePBX looks whether FreePBX has an administrator, and opens its pages then.
func (p *Part) followFreePBX(ctx context.Context, f install.FirstRun, m *freepbx.Machine) error {
	defer p.freePBX.Store(nil)
	for {
		seen, err := p.observeFreePBX(ctx, f, m)
		if err != nil {
			return err
		}
		p.freePBX.Store(&seen)
		every := openingEvery
		if seen.opening == install.OpeningDone {
			every = openedEvery
		}
		if !pause.For(ctx, every) {
			return nil
		}
	}
}

func (p *Part) observeFreePBX(ctx context.Context, f install.FirstRun, m *freepbx.Machine) (seen openState, err error) {
	seen.opening, err = f.Reconcile(ctx)
	switch {
	case errors.Is(err, freepbx.ErrNotInstalled):
		return seen, nil
	case err != nil && seen.opening == install.OpeningDone:
		p.host.Logger(name).Warn("FreePBX has an administrator now, but not all of the site's settings", "err", err)
	case err != nil:
		return seen, err
	}
	seen.rtpPorts.First, seen.rtpPorts.Last, err = m.RTPPorts(ctx)
	return seen, err
}

// freePBXProblems says what only an administrator of FreePBX can put right.
func freePBXProblems(seen *openState, c *config.Config) (out []problem.Problem) {
	if seen == nil || c.PBX.Driver != config.DriverFreePBX {
		return nil
	}
	visit := "visit http://" + c.LAN.Address.Addr().String() + "/admin and make one"
	switch seen.opening {
	case install.OpeningGuarded:
		out = append(out, problem.Problem{
			ID: problem.FreePBXNoAdmin, Severity: problem.Warning, Part: name, Fix: visit,
			What: "FreePBX has no administrator yet; until it has, its pages are open to this machine and to the addresses given with --admin-from only",
		})
	case install.OpeningOpen:
		out = append(out, problem.Problem{
			ID: problem.FreePBXOpen, Severity: problem.Error, Part: name, What: "FreePBX has no administrator, and whoever visits its pages first becomes it",
			Fix: visit + " at once, or close them to others with 'sae-agent pbx install --admin-from ADDRESS'",
		})
	}
	if r := seen.rtpPorts; r.First != 0 && r != c.PBX.RTPPorts {
		out = append(out, problem.Problem{
			ID: problem.FreePBXRTPPorts, Severity: problem.Warning, Part: name, What: fmt.Sprintf("FreePBX uses UDP ports %v for voice, and pbx.rtp_ports says %v", r, c.PBX.RTPPorts),
			Fix: fmt.Sprintf("write %d and %d on FreePBX's pages (Settings, Asterisk SIP Settings, RTP Port Ranges), or %v into the file", c.PBX.RTPPorts.First, c.PBX.RTPPorts.Last, r),
		})
	}
	return out
}
