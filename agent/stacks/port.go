package stacks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// allocated is how Docker says that it has given a port away itself. When somebody
// else listens on it, the kernel's words are another.
var allocated = regexp.MustCompile(`Bind for (\S+):(\d+) failed: port is already allocated`)

// allocatedPort is the port that Docker says it has given away.
func allocatedPort(err error) (netip.AddrPort, bool) {
	var p *Problem
	if !errors.As(err, &p) || p.Code != PortTaken {
		return netip.AddrPort{}, false
	}
	m := allocated.FindStringSubmatch(p.What)
	if m == nil {
		return netip.AddrPort{}, false
	}
	addr, err := netip.ParseAddr(strings.Trim(m[1], "[]"))
	port, portErr := strconv.ParseUint(m[2], 10, 16)
	return netip.AddrPortFrom(addr, uint16(port)), err == nil && portErr == nil
}

// upFreeingPorts has up make the containers. Docker that was killed while it made
// some may take a port of a container that is no more for given away, until it is
// restarted. Where no container has the port, what is left of the project is removed;
// where that does not help, Docker is restarted.
func (s *stack) upFreeingPorts(ctx context.Context, up func() error) error {
	began := time.Now()
	err := up()
	for _, free := range []func(netip.AddrPort) error{
		func(netip.AddrPort) error {
			return s.compose(ctx, composeCall{args: []string{"down", "--remove-orphans"}})
		},
		func(port netip.AddrPort) error { return s.restartDocker(ctx, port, began) },
	} {
		port, ok := allocatedPort(err)
		if !ok {
			return err
		}
		other, ask := s.portHolder(ctx, port)
		if ask != nil {
			return ask
		}
		if other != "" {
			return problem(PortTaken, fmt.Sprintf("'docker stop %s' frees it, or change the port under stacks:", other), "the container %s has %s", other, port)
		}
		s.log.Warn("Docker has given a port away, and no container has it", "port", port)
		if failed := free(port); failed != nil {
			return failed
		}
		err = up()
	}
	if port, ok := allocatedPort(err); ok {
		return stalePort(port, "restarting Docker did not help")
	}
	return err
}

const restartDockerFix = "'systemctl restart docker' frees it; that restarts the containers of this machine"

func stalePort(port netip.AddrPort, why string) *Problem {
	return problem(PortStale, restartDockerFix, "Docker keeps %s for a container that is no more; %s", port, why)
}

// portHolder is the name of a container that has a port, unless it is one of the
// stack's own; empty: there is none.
func (s *stack) portHolder(ctx context.Context, port netip.AddrPort) (string, error) {
	all, err := s.docker.Running(ctx)
	if err != nil {
		return "", daemonProblem(err, s.cli.installed())
	}
	for _, c := range all {
		if c.Project != s.project() && slices.ContainsFunc(c.Ports, func(p netip.AddrPort) bool {
			return p.Port() == port.Port() && (p.Addr() == port.Addr() || p.Addr().IsUnspecified() || port.Addr().IsUnspecified())
		}) {
			return c.Name, nil
		}
	}
	return "", nil
}

const (
	// restartDockerEvery bounds how often Docker is restarted for a port.
	restartDockerEvery = time.Hour
	// dockerTime is how long Docker may take to answer again.
	dockerTime = 2 * time.Minute
)

// restartDocker restarts Docker for a stack whose port it does not give back, unless
// that was done since the stack began to come up. Containers of others are not ours
// to restart.
func (s *stack) restartDocker(ctx context.Context, port netip.AddrPort, began time.Time) error {
	s.restart.Lock()
	defer s.restart.Unlock()
	last := s.lastRestart
	switch {
	case last.After(began):
		return nil
	case s.opts.RestartDocker == nil:
		return stalePort(port, "it is not the agent's to restart")
	case !last.IsZero() && time.Since(last) < restartDockerEvery:
		return stalePort(port, "it was restarted for that at "+last.Format(time.TimeOnly))
	}
	all, err := s.docker.Running(ctx)
	if err != nil {
		return daemonProblem(err, s.cli.installed())
	}
	if i := slices.IndexFunc(all, func(c docker.Running) bool { return !s.ours(c.Project) }); i >= 0 {
		return stalePort(port, "to restart it would restart the container "+all[i].Name+", which is not the agent's")
	}
	s.log.Warn("Docker is restarted, for it keeps a port for a container that is no more")
	s.lastRestart = time.Now()
	if err := s.opts.RestartDocker(ctx); err != nil {
		return stalePort(port, "it cannot be restarted: "+err.Error())
	}
	for deadline := time.Now().Add(dockerTime); ; pause.For(ctx, time.Second) {
		_, err := s.docker.Version(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return daemonProblem(err, s.cli.installed())
		}
	}
}

// ours reports whether a compose project is one of the stacks.
func (s *Service) ours(project string) bool {
	for _, st := range s.stacks {
		if st.project() == project {
			return true
		}
	}
	return false
}
