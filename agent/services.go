package agent

import (
	"context"
	"fmt"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/services"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// watched are the services of others that the appliance needs.
var watched = []string{"apache2", "asterisk", "fail2ban", "freepbx", "mariadb"}

func (a *Agent) newServices() *services.Watcher {
	return services.New(watched, services.Systemd{Names: watched}, a.log.With("part", "services"), a.wake)
}

// wantBesides watches what others bring, where systemd runs it. The caller holds a.mu.
func (a *Agent) wantBesides(c *config.Config) {
	if !runner.Here() {
		return
	}
	a.units.services.want(a.parts, struct{}{})
	if c.PBX.Driver == config.DriverFreePBX {
		a.units.firstRun.want(a.parts, desiredFirstRun(c))
	} else {
		a.units.firstRun.off(a.parts)
	}
}

func (a *Agent) buildServices(context.Context, struct{}) (supervisor.Part, error) {
	return a.measure(a.services.Run, a.services), nil
}

func (a *Agent) serviceStatus() []control.Service {
	out := []control.Service{}
	for _, u := range a.services.Units() {
		out = append(out, control.Service{Name: u.Name, State: u.State, Detail: u.Sub, Enabled: u.Enabled, Since: u.Since})
	}
	return out
}

// serviceProblems judges the services: one that FreePBX cannot be without hurts more.
func serviceProblems(driver config.Driver, list []control.Service) (out []problem.Problem) {
	vital := map[string]bool{"freepbx": driver == config.DriverFreePBX, "mariadb": driver == config.DriverFreePBX, "asterisk": driver == config.DriverAsterisk}
	for _, s := range list {
		down := s.State == "failed" || s.State == "inactive" && s.Enabled
		if !down {
			continue
		}
		p := problem.Problem{
			Severity: problem.Warning, Part: "services", What: fmt.Sprintf("%s is %s", s.Name, s.State),
			Fix: fmt.Sprintf("journalctl -u %s says why, systemctl restart %s starts it", s.Name, s.Name),
		}
		if vital[s.Name] {
			p.Severity = problem.Error
		}
		out = append(out, p)
	}
	return out
}
