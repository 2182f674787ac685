package stacks

import (
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// State is how far a stack is.
type State string

// States of a stack.
const (
	Off      State = "off"      // not in the configuration
	Stopped  State = "stopped"  // by the operator
	Starting State = "starting" // on its way
	Healthy  State = "healthy"
	Degraded State = "degraded" // something of it does not work; it is being brought back
	Blocked  State = "blocked"  // it cannot be brought up: see the problem
	Updating State = "updating"
)

// states are all of them, for metrics.
var states = [...]State{Off, Stopped, Starting, Healthy, Degraded, Blocked, Updating}

// Status is how a stack is.
type Status struct {
	Name     string
	State    State
	Since    time.Time
	URL      string // of its page; empty when it is off
	Problem  *Problem
	Services []ServiceStatus
	Repairs  uint64    // times that it was brought back
	NextTry  time.Time // when it is tried again, after a failure
	// Notes are what an operator should know that is no failure.
	Notes []kind.Note
	Pull  *Pull // the image that is fetched now; nil: none
	// Available are the images that an update would bring, by service.
	Available map[string]string
}

// ServiceStatus is how one service of a stack is.
type ServiceStatus struct {
	Name   string
	Image  kind.Image // that runs, or will
	Up     bool
	Status string // in Docker's words; empty when there is no container
}

// serviceStatus compares what there is with what should be.
func serviceStatus(want map[string]kind.Service, have []docker.Container) []ServiceStatus {
	out := make([]ServiceStatus, 0, len(want))
	for name, w := range want {
		s := ServiceStatus{Name: name, Image: w.Image}
		for _, c := range have {
			if c.Service == name {
				s.Up, s.Status = c.Up(), c.Status
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ServiceStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// need is what the state of the containers asks for.
type need int

const (
	nothing need = iota // all is well
	patience
	composeUp
)

// judge decides what is to be done about a project's containers. hashes are those
// that they carry if they were made as they should be; nil: that is not asked. sick
// are the services that run and say that they are not well: up alone does not help
// them.
func judge(want map[string]kind.Service, have []docker.Container, hashes map[string]string) (n need, sick []string) {
	found := make(map[string]docker.Container, len(have))
	for _, c := range have {
		found[c.Service] = c
		if _, ok := want[c.Service]; !ok {
			n = max(n, composeUp) // one too many
		}
	}
	for name := range want {
		c, ok := found[name]
		switch {
		case !ok || c.State != "running" && c.State != "restarting":
			n = max(n, composeUp)
		case hashes != nil && c.ConfigHash != hashes[name]:
			n = max(n, composeUp) // somebody has made it otherwise
		case c.Health == "unhealthy":
			n, sick = max(n, composeUp), append(sick, name)
		case !c.Up():
			n = max(n, patience)
		}
	}
	slices.Sort(sick)
	return n, sick
}
