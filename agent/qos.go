package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/netcfg/qos"
)

// desiredQoS is how the WAN's upload should be shaped. Without a rate what was
// there of ours goes.
func desiredQoS(c *config.Config) qos.Config {
	if c.WAN.Method == config.WANNone {
		return qos.Config{}
	}
	return qos.Config{Link: c.WAN.Interface, Rate: uint64(c.QoS.WANUpload)}
}

func (a *Agent) buildQoS(_ context.Context, c qos.Config) (supervisor.Part, error) {
	s, err := qos.New(c, qos.Options{Logger: a.log.With("part", "qos")})
	if err != nil {
		return nil, err
	}
	return a.measure(func(ctx context.Context) error {
		a.qos.Store(s)
		defer a.qos.Store(nil)
		return s.Run(ctx)
	}, s), nil
}

func (a *Agent) changeQoS(c qos.Config) bool {
	s := a.qos.Load()
	if s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	return s.Apply(ctx, c) == nil
}

// planQoS lists what a configuration would change of the WAN's queues, for people.
func (a *Agent) planQoS(c *config.Config) []string {
	s := a.qos.Load()
	if s == nil {
		return nil
	}
	changes, err := s.Plan(desiredQoS(c))
	if err != nil {
		a.log.Warn("cannot tell what would change of the queues", "err", err)
		return nil
	}
	var out []string
	for _, c := range changes {
		if strings.Contains(c.String(), " filter ") {
			continue // what belongs to a class is not worth a line each
		}
		out = append(out, c.String())
	}
	return out
}

func (a *Agent) qosStatus() control.QoSStatus {
	s := a.qos.Load()
	if s == nil {
		return control.QoSStatus{Discipline: string(qos.DisciplineNone)}
	}
	st := s.Status()
	return control.QoSStatus{
		Link: st.Link, BitsPerSecond: st.Rate, Discipline: string(st.Discipline), Repairs: st.Repairs, Error: st.Problem,
	}
}

func qosProblems(q control.QoSStatus) []problem.Problem {
	if q.Error == "" {
		return nil
	}
	return []problem.Problem{{
		Severity: problem.Warning, Part: "qos", What: fmt.Sprintf("calls may wait behind other packets: %s", q.Error),
		Fix: "do as it says, or remove qos.wan_upload",
	}}
}
