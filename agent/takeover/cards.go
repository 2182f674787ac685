package takeover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

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
	if out, err := exec.CommandContext(ctx, "ifup", "--force", card).CombinedOutput(); err != nil {
		return fmt.Errorf("ifup --force %s: %w: %s", card, err, strings.TrimSpace(string(out)))
	}
	return nil
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
