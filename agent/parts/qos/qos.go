// Package qos is the part that shapes the WAN's upload, so that calls do not wait
// behind other packets.
package qos

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/netcfg/qos"
)

const name = "qos"

// Part shapes the WAN's upload.
type Part struct {
	host   part.Host
	shaper atomic.Pointer[qos.Shaper] // nil while none runs
}

// New returns the part.
func New(h part.Host) *Part { return &Part{host: h} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[qos.Config]{
		Name:    name,
		Desired: func(_ context.Context, in part.Input) (qos.Config, bool, error) { return Desired(in.Config), true, nil },
		Build:   p.build,
	})}
}

// Desired is how the WAN's upload should be shaped. Without a rate, what was there
// of ours goes.
func Desired(c *config.Config) qos.Config {
	if c.WAN.Method == config.WANNone {
		return qos.Config{}
	}
	return qos.Config{Link: c.WAN.Interface, Rate: uint64(c.QoS.WANUpload)}
}

func (p *Part) build(_ context.Context, c qos.Config) (part.Run[qos.Config], error) {
	s, err := qos.New(c, qos.Options{Logger: p.host.Logger(name)})
	if err != nil {
		return part.Run[qos.Config]{}, err
	}
	return part.Run[qos.Config]{
		Run: func(ctx context.Context) error {
			p.shaper.Store(s)
			defer p.shaper.Store(nil)
			return s.Run(ctx)
		},
		Apply:      s.Apply,
		Collectors: []prometheus.Collector{s},
	}, nil
}

// Plan implements part.Planner.
func (p *Part) Plan(_ context.Context, next part.Input, plan *control.Plan) {
	s := p.shaper.Load()
	if s == nil {
		return
	}
	changes, err := s.Plan(Desired(next.Config))
	if err != nil {
		p.host.Logger(name).Warn("cannot tell what would change of the queues", "err", err)
		return
	}
	for _, c := range changes {
		if strings.Contains(c.String(), " filter ") {
			continue // what belongs to a class is not worth a line each
		}
		plan.Machine = append(plan.Machine, c.String())
	}
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.QoS = p.status()
	if st.QoS.Error == "" {
		return nil
	}
	return []problem.Problem{{
		ID: problem.QoSNotShaped, Severity: problem.Warning, Part: name, What: fmt.Sprintf("calls may wait behind other packets: %s", st.QoS.Error),
		Fix: "do as it says, or remove qos.wan_upload",
	}}
}

func (p *Part) status() control.QoSStatus {
	s := p.shaper.Load()
	if s == nil {
		return control.QoSStatus{Discipline: string(qos.DisciplineNone)}
	}
	st := s.Status()
	return control.QoSStatus{
		Link: st.Link, BitsPerSecond: st.Rate, Discipline: string(st.Discipline), Repairs: st.Repairs, Error: st.Problem,
	}
}

// Features implements part.Featurer.
func (p *Part) Features(c *config.Config) map[string]bool {
	return map[string]bool{name: c.QoS.WANUpload > 0}
}
