// Package services is the part that watches the services of others that the
// appliance needs.
package services

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/services"
)

const name = "services"

// Part watches services.
type Part struct {
	host    part.Host
	watcher *services.Watcher
}

// New returns the part.
func New(h part.Host) *Part {
	watched := []string{"apache2", "asterisk", "fail2ban", "freepbx", "mariadb"}
	return &Part{host: h, watcher: services.New(watched, services.Systemd{Names: watched}, h.Logger(name), h.Changed)}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[struct{}]{
		Name:    name,
		Desired: func(context.Context, part.Input) (struct{}, bool, error) { return struct{}{}, runner.Here(), nil },
		Build: func(context.Context, struct{}) (part.Run[struct{}], error) {
			return part.Run[struct{}]{Run: p.watcher.Run, Collectors: []prometheus.Collector{p.watcher}}, nil
		},
	})}
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.Services = []control.Service{}
	for _, u := range p.watcher.Units() {
		st.Services = append(st.Services, control.Service{Name: u.Name, State: u.State, Detail: u.Sub, Enabled: u.Enabled, Since: u.Since})
	}
	return problems(p.host.Running().Config.PBX.Driver, st.Services)
}

// problems judges the services: one that FreePBX cannot be without hurts more.
func problems(driver config.Driver, list []control.Service) (out []problem.Problem) {
	vital := map[string]bool{"freepbx": driver == config.DriverFreePBX, "mariadb": driver == config.DriverFreePBX, "asterisk": driver == config.DriverAsterisk}
	for _, s := range list {
		down := s.State == "failed" || s.State == "inactive" && s.Enabled
		if !down {
			continue
		}
		p := problem.Problem{
			ID: problem.ServiceDown, Severity: problem.Warning, Subject: s.Name, Part: name, What: fmt.Sprintf("the service %s is %s", s.Name, s.State),
			Fix: fmt.Sprintf("journalctl -u %s says why, systemctl restart %s starts it", s.Name, s.Name),
		}
		if vital[s.Name] {
			p.Severity = problem.Error
		}
		out = append(out, p)
	}
	return out
}
