package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
)

// netnsDir is where iproute2 looks for named network namespaces.
const netnsDir = "/run/netns"

// Lab is a set of hosts and switches, and the programs that run on them. Close takes all of it down.
type Lab struct {
	ctx context.Context // ends the processes started with Host.Start

	mu        sync.Mutex // guards the following
	hosts     []*Host
	processes []*Process
}

// New returns an empty lab. It fails outside the namespaces made by Main or Enter, where it would change the
// machine's own network. Processes started in the lab end with ctx.
func New(ctx context.Context) (*Lab, error) {
	if !Inside() {
		return nil, errors.New("lab: not inside a lab, call lab.Main (tests) or lab.Enter first")
	}
	return &Lab{ctx: ctx}, nil
}

// Close stops every process, newest first, and removes every host.
func (l *Lab) Close() error {
	l.mu.Lock()
	processes, hosts := l.processes, l.hosts
	l.processes, l.hosts = nil, nil
	l.mu.Unlock()

	for i := len(processes) - 1; i >= 0; i-- {
		_ = processes[i].Stop() // how a program ends when told to stop is its tests' business
	}
	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// Connect lays a cable between two hosts: a veth pair whose ends are up and have no addresses.
func (l *Lab) Connect(a *Host, aName string, b *Host, bName string) error {
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: aName, Namespace: netlink.NsFd(a.ns), TxQLen: -1},
		PeerName:      bName,
		PeerNamespace: netlink.NsFd(b.ns),
	}
	if err := a.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("lab: connect %s %s to %s %s: %w", a.name, aName, b.name, bName, err)
	}
	if err := a.Up(aName); err != nil {
		return err
	}
	return b.Up(bName)
}

// Switch is an Ethernet switch: a bridge without spanning tree, so that a port forwards as soon as it is plugged.
// It takes 1,023 ports.
type Switch struct {
	lab    *Lab
	host   *Host
	bridge *netlink.Bridge

	mu    sync.Mutex // guards the following
	ports int
}

const bridgeName = "switch"

// Switch adds an Ethernet switch. It lives in a host of that name, on which tcpdump sees all its traffic.
func (l *Lab) Switch(name string) (*Switch, error) {
	h, err := l.Host(name)
	if err != nil {
		return nil, err
	}
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName, TxQLen: -1}, MulticastSnooping: &snooping}
	if err := h.nl.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("lab: add switch %s: %w", name, err)
	}
	return &Switch{lab: l, host: h, bridge: bridge}, h.Up(bridgeName)
}

// Host returns the host that the switch lives in.
func (s *Switch) Host() *Host { return s.host }

// Plug gives the host an interface that is connected to the switch.
func (s *Switch) Plug(h *Host, ifname string) error {
	s.mu.Lock()
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	s.mu.Unlock()

	if err := s.lab.Connect(h, ifname, s.host, port); err != nil {
		return err
	}
	link, err := s.host.link(port)
	if err != nil {
		return err
	}
	if err := s.host.nl.LinkSetMaster(link, s.bridge); err != nil {
		return fmt.Errorf("lab: plug %s %s into %s: %w", h.name, ifname, s.host.name, err)
	}
	return nil
}
