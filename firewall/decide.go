package firewall

import (
	"net/netip"
	"slices"
	"strings"
)

// Zone is where a packet comes from or goes to.
type Zone string

// Zones.
const (
	ZoneWAN        Zone = "wan"
	ZoneLAN        Zone = "lan"
	ZoneContainers Zone = "docker"
	ZoneTrusted    Zone = "trusted"
	ZoneLocal      Zone = "local" // this machine
)

// Packet is the first packet of a connection that somebody asks about.
type Packet struct {
	Zone      Zone       // it comes from
	From      netip.Addr // its sender
	To        Zone       // ZoneLocal: an address of this machine
	Protocol  string     // tcp, udp or icmp
	Port      uint16     // destination; 0 with icmp
	Published bool       // Docker forwards the port to a container
	// In are the sets that the sender is a member of: ban, shield, known, slow.
	In []string
}

// Decision is what becomes of a packet, and why.
type Decision struct {
	Accept bool
	Chain  string // where it was decided
	Rule   string // which rule did, in nft's words; empty: the chain's end
	Why    string // the rule's comment, for people
}

// Decide says what the ruleset does with a packet. Limits count as not reached,
// and tables of others are not known here.
func Decide(c Config, p Packet) Decision {
	m := c.model()
	path := []string{"guard", "input"}
	if p.To != ZoneLocal || p.Published {
		path[1] = "forward"
	}
	if p.Published {
		p.To = ZoneContainers
	}
	reason := Decision{Accept: true, Chain: path[1], Why: "nothing stops it"}
	for _, hook := range path {
		d, _ := m.walk(hook, p)
		if !d.Accept {
			return d
		}
		if d.Rule != "" {
			reason = d
		}
	}
	return reason
}

// walk follows a packet through a chain. It reports whether a rule has decided; if
// not, a chain that jumped here goes on.
func (t table) walk(name string, p Packet) (d Decision, decided bool) {
	i := slices.IndexFunc(t.chains, func(c chain) bool { return c.name == name })
	for _, r := range t.chains[i].rules {
		if slices.ContainsFunc(r.matches, func(m match) bool { return !m.holds(p) }) {
			continue
		}
		verb, target, _ := strings.Cut(r.verdict, " ")
		switch verb {
		case "accept", "drop":
			return Decision{Accept: verb == "accept", Chain: name, Rule: r.String(), Why: r.comment}, true
		case "goto":
			d, decided = t.walk(target, p)
			if !decided {
				d = Decision{Accept: true, Chain: target}
			}
			return d, true
		case "jump":
			if d, decided = t.walk(target, p); decided {
				return d, true
			}
		}
	}
	return Decision{Accept: true, Chain: name}, false
}

// ZoneOf guesses the zone of a sender from its address.
func (c Config) ZoneOf(a netip.Addr) Zone {
	if c.inLAN(a) {
		return ZoneLAN
	}
	return ZoneWAN
}

func (c Config) inLAN(a netip.Addr) bool {
	return slices.ContainsFunc(c.LANNets, func(n netip.Prefix) bool { return n.Contains(a) })
}
