package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/netcfg"
)

// By which changes of the cards a session is lost.
func TestLocksOut(t *testing.T) {
	net := netip.MustParsePrefix
	near := part.Session{Peer: netip.MustParseAddr("198.51.100.7"), Local: netip.MustParseAddrPort("198.51.100.50:22"), Link: "ens33"}
	far := near
	far.Peer, far.Gateway = netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.1")
	everywhere := func(kind netcfg.Kind, link, gateway string) netcfg.Change {
		return netcfg.Change{Kind: kind, Link: link, Route: netcfg.Route{Destination: net("0.0.0.0/0"), Gateway: netip.MustParseAddr(gateway)}}
	}
	address := func(kind netcfg.Kind, link, p string) netcfg.Change {
		return netcfg.Change{Kind: kind, Link: link, Address: net(p)}
	}
	for name, c := range map[string]struct {
		session part.Session
		changes []netcfg.Change
		want    string // empty: it is not
	}{
		"nothing changes":                {far, nil, ""},
		"its address goes":               {near, []netcfg.Change{address(netcfg.RemoveAddress, "ens33", "198.51.100.50/24")}, "taken from ens33"},
		"another address goes":           {near, []netcfg.Change{address(netcfg.RemoveAddress, "ens33", "198.51.100.51/24")}, ""},
		"its gateway goes":               {far, []netcfg.Change{everywhere(netcfg.RemoveRoute, "ens33", "198.51.100.1")}, "the route that leads to it"},
		"its gateway is changed":         {far, []netcfg.Change{everywhere(netcfg.AddRoute, "ens33", "198.51.100.2"), everywhere(netcfg.RemoveRoute, "ens33", "198.51.100.1")}, ""},
		"a neighbour needs no gateway":   {near, []netcfg.Change{everywhere(netcfg.RemoveRoute, "ens33", "198.51.100.1")}, ""},
		"another card's gateway goes":    {far, []netcfg.Change{everywhere(netcfg.RemoveRoute, "ens35", "192.0.2.1")}, ""},
		"its network moves to the LAN":   {near, []netcfg.Change{address(netcfg.AddAddress, "ens34", "198.51.100.200/24")}, "looked for behind ens34"},
		"the network of its own card":    {near, []netcfg.Change{address(netcfg.AddAddress, "ens33", "198.51.100.200/24")}, ""},
		"another network is on the LAN":  {near, []netcfg.Change{address(netcfg.AddAddress, "ens34", "192.168.1.1/24")}, ""},
		"forwarding and MTU lock no one": {far, []netcfg.Change{{Kind: netcfg.SetForwarding}, {Kind: netcfg.SetMTU, Link: "ens33", MTU: 1400}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := locksOut(c.changes, c.session)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
