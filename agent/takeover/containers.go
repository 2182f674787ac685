package takeover

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// container is what Docker tells of one (docker-inspect(1)).
type container struct {
	Name   string
	Config struct {
		Image        string
		Labels       map[string]string
		ExposedPorts map[string]struct{}
	}
	State      struct{ Running bool }
	HostConfig struct {
		NetworkMode   string
		RestartPolicy struct{ Name string }
		PortBindings  map[string][]binding
	}
	NetworkSettings struct {
		Ports map[string][]binding
	}
}

type binding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// Containers are those of a machine.
type Containers []container

// Inspect asks Docker for the containers of its machine, running or not.
func Inspect(ctx context.Context, docker Docker) (Containers, error) {
	var failed error
	for range 3 { // a container may go between both questions
		ids, err := docker(ctx, "ps", "--all", "--quiet", "--no-trunc")
		if err != nil || strings.TrimSpace(ids) == "" {
			return nil, err
		}
		text, err := docker(ctx, append([]string{"inspect"}, strings.Fields(ids)...)...)
		if err != nil {
			failed = err
			continue
		}
		var out Containers
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			return nil, fmt.Errorf("docker inspect: %w", err)
		}
		return out, nil
	}
	return nil, failed
}

func (c container) name() string { return strings.TrimPrefix(c.Name, "/") }

// ports are those of the machine that lead to a container, or would if it ran, on an address.
func (c container) ports(addr netip.Addr) (out []Ports) {
	add := func(number, protocol string) {
		if p, ok := readPorts(number, protocol); ok { // else any port will do for it
			out = append(out, p)
		}
	}
	if c.HostConfig.NetworkMode == "host" {
		for port := range c.Config.ExposedPorts {
			number, protocol, _ := strings.Cut(port, "/")
			add(number, protocol)
		}
		return out
	}
	bound := c.NetworkSettings.Ports
	if !c.State.Running {
		bound = c.HostConfig.PortBindings
	}
	for port, bindings := range bound {
		_, protocol, _ := strings.Cut(port, "/")
		for _, b := range bindings {
			if at, err := netip.ParseAddr(b.HostIP); b.HostIP == "" || err == nil && (at == addr || at.IsUnspecified()) {
				add(b.HostPort, protocol)
			}
		}
	}
	return out
}
