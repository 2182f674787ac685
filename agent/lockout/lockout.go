// Package lockout keeps a change of the configuration from locking out who makes it.
package lockout

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/sshd"
)

// Sessions returns who works on this machine over SSH: the caller, a process (0: none),
// and whoever else is known to be logged in.
func Sessions(caller int) ([]part.Session, error) {
	open, err := sshd.Sessions("/", caller)
	if err != nil {
		return nil, fmt.Errorf("lockout: %w", err)
	}
	var out []part.Session
	for _, c := range open {
		s := part.Session{Peer: c.Peer, Local: c.Local}
		// Without a route the peer is not reached now either.
		if routes, err := netlink.RouteGetWithOptions(c.Peer.AsSlice(), &netlink.RouteGetOptions{SrcAddr: c.Local.Addr().AsSlice()}); err == nil && len(routes) > 0 {
			if i, err := net.InterfaceByIndex(routes[0].LinkIndex); err == nil {
				s.Link = i.Name
			}
			if gw, ok := netip.AddrFromSlice(routes[0].Gw); ok {
				s.Gateway = gw.Unmap()
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// Check returns an error when one of the sessions would be lost if next ran.
func Check(ctx context.Context, parts []part.Part, next part.Input, sessions []part.Session) error {
	var lost []string
	for _, s := range sessions {
		for _, p := range parts {
			g, ok := p.(part.Gatekeeper)
			if !ok {
				continue
			}
			for _, why := range g.LocksOut(ctx, next, s) {
				lost = append(lost, fmt.Sprintf("the SSH session from %v: %s", s.Peer, why))
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return &control.Error{
		Code:    http.StatusConflict,
		Message: "nothing was changed, since it would lock out somebody who is logged in: apply --confirm 2m tries a change, --force makes it all the same",
		Details: lost,
	}
}
