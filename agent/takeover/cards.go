package takeover

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"github.com/sae-agent/sae-agent/netcfg"
)

// MachineCards are the Cards of this machine.
type MachineCards struct {
	StateDir string // of package netcfg
}

// Release removes the addresses that the agent has added.
func (c MachineCards) Release(card string) error { return netcfg.Release(c.StateDir, card) }

// Ifup has ifupdown bring a card up, whatever it thinks of its state.
func (MachineCards) Ifup(ctx context.Context, card string) error {
	_, err := output(ctx, "ifup --force "+card, "ifup", "--force", card)
	return err
}

// Addressed reports whether a card has an IPv4 address that is not the agent's.
func (c MachineCards) Addressed(card string) bool {
	ifi, err := net.InterfaceByName(card)
	if err != nil {
		return false
	}
	all, err := ifi.Addrs()
	if err != nil {
		return false
	}
	ours := netcfg.Added(c.StateDir)[card]
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Is4() && !slices.Contains(ours, p)
	})
}
