package network

import (
	"fmt"
	"slices"

	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/netcfg"
)

// locksOut says by which changes of the cards a session is lost.
func locksOut(changes []netcfg.Change, s part.Session) (out []string) {
	for _, c := range changes {
		switch {
		case c.Kind == netcfg.RemoveAddress && c.Address.Addr() == s.Local.Addr():
			out = append(out, fmt.Sprintf("%v, which it came to, is taken from %s; to keep it write the same address as before", s.Local.Addr(), c.Link))
		case c.Kind == netcfg.RemoveRoute && c.Link == s.Link && c.Route.Gateway == s.Gateway && c.Route.Destination.Contains(s.Peer) && !leadsTo(changes, s):
			out = append(out, fmt.Sprintf("the route that leads to it, %v, is taken from %s; to keep it write the same gateway as before", c.Route, c.Link))
		case c.Kind == netcfg.AddAddress && c.Link != s.Link && c.Address.Masked().Contains(s.Peer):
			out = append(out, fmt.Sprintf("%v would be looked for behind %s, in %v; write another network there", s.Peer, c.Link, c.Address.Masked()))
		}
	}
	return out
}

// leadsTo reports whether a route to a session's peer is added.
func leadsTo(changes []netcfg.Change, s part.Session) bool {
	return slices.ContainsFunc(changes, func(c netcfg.Change) bool {
		return c.Kind == netcfg.AddRoute && c.Route.Destination.Contains(s.Peer)
	})
}
