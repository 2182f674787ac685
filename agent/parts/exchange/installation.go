package exchange

import (
	"context"
	"time"

	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	installationName = "pbx-installation"
	// installationEvery is how often it is asked whether an installation of the exchange has failed.
	installationEvery = 15 * time.Second
)

// installer tells how the last installation failed; empty: it did not, or goes on.
type installer interface {
	Failure(ctx context.Context) (string, error)
}

func (p *Part) buildInstallation(context.Context, struct{}) (part.Run[struct{}], error) {
	i := install.Installer{System: runner.Systemd{}, Dir: p.host.Paths().InState("pbx")}
	return part.Run[struct{}]{Run: func(ctx context.Context) error { return p.followInstallation(ctx, i, installationEvery) }}, nil
}

// followInstallation notes how an installation of the exchange has failed, for the status: whoever began it may have left.
func (p *Part) followInstallation(ctx context.Context, i installer, every time.Duration) error {
	defer p.failedInstall.Store(nil)
	for {
		failure, err := i.Failure(ctx)
		if err != nil {
			return err
		}
		if last := p.failedInstall.Swap(&failure); failure != "" && (last == nil || *last != failure) {
			p.host.Logger(name).Error("the installation of the exchange has failed", "err", failure)
			p.deps.OnChange()
		}
		if !pause.For(ctx, every) {
			return nil
		}
	}
}

// installationProblems says how the installation has failed, until the exchange works all the same.
func installationProblems(failure *string, state string) []problem.Problem {
	if failure == nil || *failure == "" || state == string(pbx.Well) {
		return nil
	}
	return []problem.Problem{{
		ID: problem.PBXInstallFailed, Severity: problem.Error, Part: name, What: "the exchange could not be installed: " + *failure,
		Fix: "when the cause is gone, run 'sae-agent pbx install' again: it goes on from there; all that it wrote is in /var/lib/sae-agent/pbx/install.log",
	}}
}
