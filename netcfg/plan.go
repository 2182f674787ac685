package netcfg

import (
	"fmt"
	"net/netip"
	"slices"
)

// Kind is what a change does.
type Kind string

// Kinds of changes, in the order in which they are made: what is new is there
// before what is old goes.
const (
	SetMTU        Kind = "set_mtu"
	SetUp         Kind = "set_up"
	AddAddress    Kind = "add_address"
	AddConnected  Kind = "add_connected_route"
	AddRoute      Kind = "add_route"
	SetForwarding Kind = "set_forwarding"
	SetNeighbours Kind = "set_neighbours"
	RemoveRoute   Kind = "remove_route"
	RemoveAddress Kind = "remove_address"
)

var order = []Kind{SetMTU, SetUp, AddAddress, AddConnected, AddRoute, SetForwarding, SetNeighbours, RemoveRoute, RemoveAddress}

// Change is one thing to do.
type Change struct {
	Kind    Kind
	Link    string       // empty for SetForwarding and SetNeighbours
	Address netip.Prefix // AddAddress, RemoveAddress; AddConnected: whose network the route leads to
	Route   Route        // AddRoute, RemoveRoute
	MTU     int          // SetMTU
	Entries int          // SetNeighbours
}

// String says it as an operator would.
func (c Change) String() string {
	switch c.Kind {
	case SetMTU:
		return fmt.Sprintf("%s: set the MTU to %d", c.Link, c.MTU)
	case SetUp:
		return fmt.Sprintf("%s: set up", c.Link)
	case AddAddress:
		return fmt.Sprintf("%s: add address %v", c.Link, c.Address)
	case AddConnected:
		return fmt.Sprintf("%s: add the route to %v", c.Link, c.Address.Masked())
	case AddRoute:
		return fmt.Sprintf("%s: add %s", c.Link, nameOf(c.Route))
	case SetForwarding:
		return "forward IPv4 packets"
	case SetNeighbours:
		return fmt.Sprintf("make room for %d neighbours", c.Entries)
	case RemoveRoute:
		return fmt.Sprintf("%s: remove %s", c.Link, nameOf(c.Route))
	case RemoveAddress:
		return fmt.Sprintf("%s: remove address %v", c.Link, c.Address)
	}
	return string(c.Kind)
}

// everywhere is where a default route leads.
var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func defaultRoute(gateway netip.Addr) Route { return Route{everywhere, gateway} }

func nameOf(r Route) string {
	if r.Destination == everywhere {
		return fmt.Sprintf("default route via %v", r.Gateway)
	}
	return "route to " + r.String()
}

// linkState is how a card is.
type linkState struct {
	Index     int
	Up        bool // by the administrator
	Carrier   bool
	MTU       int
	Addresses []netip.Prefix // IPv4
	Connected []netip.Prefix // networks that routes without a gateway lead to
	Routes    []Route        // that we added
	Foreign   []netip.Addr   // gateways of other default routes
}

// machine is how everything is; a card that does not exist is not in Links.
type machine struct {
	Links      map[string]linkState
	Forwarding bool
	Neighbours int // how many the kernel remembers at most; 0: another network namespace decides
}

// owned are the addresses that we added, by card.
type owned map[string][]netip.Prefix

// wanted is how one card should be, with the lease taken in.
type wanted struct {
	name      string
	mtu       int
	addresses []netip.Prefix
	routes    []Route
	// neighbours is how many the kernel should remember at least.
	neighbours int
}

// maxNeighbours bounds what the kernel's table takes: some 50 MB, if they were all there.
const maxNeighbours = 1 << 17

// neighbours is for how many of them there should be room: all hosts of a LAN, and as many of other cards. Whoever is not
// in the kernel's table gets no packet.
func neighbours(lan []netip.Prefix) int {
	n := 0
	for _, p := range lan {
		n += 2 << min(32-p.Bits(), 20)
	}
	return min(n, maxNeighbours)
}

// makePlan lists what to change so that the machine is as it should be. For a
// card that does not exist nothing can be done.
func makePlan(want []wanted, forwarding bool, is machine, ours owned) []Change {
	var plan []Change
	kept := make(map[string]bool)
	for _, w := range want {
		kept[w.name] = true
		if l, ok := is.Links[w.name]; ok {
			plan = append(plan, planLink(w, l, ours[w.name])...)
		}
	}
	for name, l := range is.Links { // cards that are not ours any more
		if !kept[name] {
			plan = append(plan, planLink(wanted{name: name}, linkState{Up: true, Addresses: l.Addresses, Routes: l.Routes}, ours[name])...)
		}
	}
	if forwarding && !is.Forwarding {
		plan = append(plan, Change{Kind: SetForwarding})
	}
	for _, w := range want {
		if is.Neighbours > 0 && w.neighbours > is.Neighbours {
			plan = append(plan, Change{Kind: SetNeighbours, Entries: w.neighbours})
		}
	}
	slices.SortStableFunc(plan, func(a, b Change) int {
		if d := slices.Index(order, a.Kind) - slices.Index(order, b.Kind); d != 0 {
			return d
		}
		if a.Link < b.Link {
			return -1
		}
		return 1
	})
	return plan
}

func planLink(w wanted, l linkState, ours []netip.Prefix) []Change {
	var plan []Change
	if w.mtu != 0 && l.MTU != w.mtu {
		plan = append(plan, Change{Kind: SetMTU, Link: w.name, MTU: w.mtu})
	}
	if !l.Up {
		plan = append(plan, Change{Kind: SetUp, Link: w.name})
	}
	for _, a := range w.addresses {
		if !slices.Contains(l.Addresses, a) {
			plan = append(plan, Change{Kind: AddAddress, Link: w.name, Address: a})
		}
	}
	for _, a := range ours {
		if slices.Contains(l.Addresses, a) && !slices.Contains(w.addresses, a) {
			plan = append(plan, Change{Kind: RemoveAddress, Link: w.name, Address: a})
		}
	}
	for _, a := range w.addresses {
		// The kernel adds it with the address or as the card goes up, and never again when somebody removes it.
		if l.Up && a.Bits() < 31 && slices.Contains(l.Addresses, a) && !slices.Contains(l.Connected, a.Masked()) {
			plan = append(plan, Change{Kind: AddConnected, Link: w.name, Address: a})
		}
	}
	for _, r := range w.routes {
		if !slices.Contains(l.Routes, r) {
			plan = append(plan, Change{Kind: AddRoute, Link: w.name, Route: r})
		}
	}
	for _, r := range l.Routes {
		if !slices.Contains(w.routes, r) {
			plan = append(plan, Change{Kind: RemoveRoute, Link: w.name, Route: r})
		}
	}
	return plan
}

// limiter stops repairs that somebody else undoes each time.
type limiter struct {
	times map[Change][]int64 // of the latest repairs, in nanoseconds
	until map[Change]int64   // when a repair may be tried again
}

const (
	fightRepairs = 5
	fightWindow  = 10e9
	fightPause   = 30e9
)

func newLimiter() *limiter {
	return &limiter{times: make(map[Change][]int64), until: make(map[Change]int64)}
}

// allow reports whether a change may be made now; began is true when it just
// became a fight.
func (l *limiter) allow(c Change, now int64) (ok, began bool) {
	if now < l.until[c] {
		return false, false
	}
	recent := slices.DeleteFunc(l.times[c], func(t int64) bool { return now-t > fightWindow })
	if len(recent) >= fightRepairs {
		l.until[c] = now + fightPause
		delete(l.times, c)
		return false, true
	}
	delete(l.until, c)
	l.times[c] = append(recent, now)
	return true, false
}

// fighting returns what is being fought about.
func (l *limiter) fighting(now int64) []Change {
	var out []Change
	for c, until := range l.until {
		if now < until {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return out
}
