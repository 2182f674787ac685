package agent

import (
	"context"
	"errors"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx/freepbx"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

const (
	// openingEvery is how often FreePBX's administrators are counted while there is none.
	openingEvery = 15 * time.Second
	// openedEvery is the same once there is one.
	openedEvery = time.Hour
)

// desiredFirstRun is what FreePBX is set to when its first run ends.
func desiredFirstRun(c *config.Config) install.FirstRun {
	return install.FirstRun{Guard: install.Guard{Root: "/"}, Name: c.Site.Name, Language: c.Site.Language, Timezone: c.Site.Timezone}
}

func (a *Agent) buildFirstRun(_ context.Context, f install.FirstRun) (supervisor.Part, error) {
	machine := freepbx.NewMachine(runner.Systemd{}, a.state("freepbx"))
	machine.Name = "sae-agent-first-run"
	f.PBX, f.Reload = machine, runner.Systemd{}.Reload
	return a.measure(func(ctx context.Context) error { return a.followFirstRun(ctx, f) }), nil
}

// followFirstRun looks whether FreePBX has an administrator, and opens its web
// interface then.
func (a *Agent) followFirstRun(ctx context.Context, f install.FirstRun) error {
	for {
		opening, err := f.Look(ctx)
		every := openingEvery
		switch {
		case errors.Is(err, freepbx.ErrNotInstalled):
		case err != nil && opening != install.OpeningDone:
			return err
		case err != nil:
			a.log.Warn("FreePBX has an administrator now, but not all of the site's settings", "part", "pbx", "err", err)
		case opening == install.OpeningDone:
			every = openedEvery
		}
		a.opening.Store(&opening)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// openingProblems tells of a FreePBX that has no administrator yet.
func openingProblems(opening *install.Opening, c *config.Config) []control.Problem {
	if opening == nil || c.PBX.Driver != config.DriverFreePBX {
		return nil
	}
	p := control.Problem{Part: "pbx", Fix: "visit http://" + c.LAN.Address.Addr().String() + "/admin and make one"}
	switch *opening {
	case install.OpeningGuarded:
		p.Severity, p.What = control.SeverityWarning, "FreePBX has no administrator yet; until it has, its pages are open to this machine and to the addresses given with --admin-from only"
	case install.OpeningOpen:
		p.Severity, p.What = control.SeverityError, "FreePBX has no administrator, and whoever visits its pages first becomes it"
		p.Fix += " at once, or close them to others with 'sae-agent pbx install --admin-from ADDRESS'"
	default:
		return nil
	}
	return []control.Problem{p}
}
