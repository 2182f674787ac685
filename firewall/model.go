package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// TableName is the name of our table, of family inet.
const TableName = "sae_agent"

// table is the whole ruleset, ready to be rendered or asked.
type table struct {
	sets     []set
	counters []string
	chains   []chain
}

// set holds addresses for a time. Its content belongs to the kernel and to the
// bans, and outlives every change of the rules.
type set struct {
	name, kind string // kind is nft's type
	timeout    string // of members that come without; empty: none
	comment    string
}

// chain is a list of rules. Hook is empty for one that only rules lead to.
type chain struct {
	name, hook string
	rules      []rule
}

// rule acts on packets that all of its matches hold for.
type rule struct {
	matches []match
	counter string // name of the counter of what is dropped
	verdict string // accept, drop, "goto CHAIN", "jump CHAIN"; empty: none
	action  string // what is done besides, in nft's words
	comment string
}

// match is one condition: in nft's words, and for a packet that somebody asks about.
type match struct {
	text  string
	holds func(Packet) bool
}

// matchesNoPacket is for conditions that the asker's packet does not fulfil: it is the first
// of its connection and comes alone.
func matchesNoPacket(Packet) bool { return false }

func (c Config) model() table {
	t := table{
		sets:     sets(),
		counters: slices.Clone(counterNames),
		chains:   []chain{c.guard(), c.fromWAN(), c.fromAllowed(), c.wanServices(), c.fromLAN()},
	}
	t.chains = append(t.chains, c.shieldChains()...)
	t.chains = append(t.chains, c.input(), c.lanServices(), c.containerServices(), c.forward())
	if c.WAN != "" && len(c.LANNets) > 0 {
		t.chains = append(t.chains, c.masquerade())
	}
	if len(c.Marks) > 0 {
		t.chains = append(t.chains, c.marks())
	}
	return t
}

// Names of sets. The numbers are the families.
const (
	setBan    = "ban"       // by Ban
	setShield = "shield"    // by the kernel
	setOnce   = "sip_once"  // banned by the kernel once within a day
	setTwice  = "sip_twice" // and more than once
	setKnown  = "known"     // addresses of AllowNames, and those given by SetKnown
	setSlow   = "slow"      // machines of the LAN that were told to slow down
)

// setOpen holds TCP sessions that were open before the rules: sender, its port,
// our address, our port.
const setOpen = "open"

// meters count requests of senders.
var meters = []string{"sip_options", "sip_register", "sip_invite", "sip_connections", "lan_register", "lan_slow"}

// setSize is how many senders a set holds. What does not fit is not counted, so
// a limit for all stands behind every meter.
const setSize = 65535

func sets() []set {
	var out []set
	for _, family := range families {
		add := func(name, timeout, comment string) {
			out = append(out, set{name + family.suffix, family.kind, timeout, comment})
		}
		add(setBan, "", "banned by the agent and fail2ban")
		add(setShield, "", "banned by the SIP shield")
		add(setOnce, "1d", "banned by the SIP shield once today")
		add(setTwice, "1d", "banned by the SIP shield more than once today")
		add(setKnown, "", "names of the allow list, and phones outside that are registered")
		add(setSlow, "", "machines of the LAN that are slowed down")
		out = append(out, set{setOpen + family.suffix, family.kind + " . inet_service . " + family.kind + " . inet_service", "", "sessions that were open before the rules"})
		for _, m := range meters {
			add("meter_"+m, "2m", "")
		}
	}
	return out
}

// Names of counters, which are reasons for a drop.
const (
	dropBanned      = "banned"
	dropShield      = "sip_banned"
	dropScanner     = "sip_scanner"
	dropOptions     = "sip_options"
	dropRegister    = "sip_register"
	dropInvite      = "sip_invite"
	dropConnections = "sip_connections"
	dropFlood       = "sip_flood"
	dropLANRegister = "lan_register"
	dropBogus       = "bogus"
	dropInvalid     = "invalid"
	dropWAN         = "wan_closed"
	dropLAN         = "lan_closed"
	dropContainers  = "containers_closed"
	dropForward     = "forward"
)

var counterNames = []string{
	dropBanned, dropShield, dropScanner, dropOptions, dropRegister, dropInvite, dropConnections, dropFlood, dropLANRegister,
	dropBogus, dropInvalid, dropWAN, dropLAN, dropContainers, dropForward,
}

// family is IPv4 or IPv6 in nft's words. A sender's address counts as a /64 in
// IPv6, since whoever has one address there has them all.
type family struct{ suffix, kind, saddr, sender string }

var families = []family{
	{"4", "ipv4_addr", "ip saddr", "ip saddr"},
	{"6", "ipv6_addr", "ip6 saddr", "ip6 saddr & ffff:ffff:ffff:ffff::"},
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return families[0]
	}
	return families[1]
}

// sender is the address under which a sender is banned.
func sender(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64) // a valid IPv6 address has one
	return p.Addr()
}

// in is the condition that the sender is a member of a set. A member's presence
// is known to the asker by the set's name.
func in(f family, name string) match {
	return match{f.sender + " @" + name + f.suffix, func(p Packet) bool { return familyOf(p.From).suffix == f.suffix && slices.Contains(p.In, name) }}
}

// inBoth makes a rule for each family.
func inBoth(set string, r rule) []rule {
	var out []rule
	for _, f := range families {
		one := r
		one.matches = append([]match{in(f, set)}, r.matches...)
		out = append(out, one)
	}
	return out
}

// fromNets is the condition that the sender is in one of some networks. There
// may be a rule for each family, or none.
func fromNets(nets []netip.Prefix, r rule) []rule {
	var out []rule
	for i, f := range families {
		var of []netip.Prefix
		for _, n := range nets {
			if n.Addr().Is4() == (i == 0) {
				of = append(of, n.Masked())
			}
		}
		if len(of) == 0 {
			continue
		}
		of = outermost(of)
		one := r
		one.matches = append([]match{{f.saddr + " " + listOf(of), func(p Packet) bool {
			return slices.ContainsFunc(of, func(n netip.Prefix) bool { return n.Contains(p.From) })
		}}}, r.matches...)
		out = append(out, one)
	}
	return out
}

// outermost leaves out networks that are part of others: nft refuses overlaps.
func outermost(nets []netip.Prefix) []netip.Prefix {
	nets = slices.Clone(nets)
	slices.SortFunc(nets, func(a, b netip.Prefix) int { return cmp.Or(a.Bits()-b.Bits(), a.Addr().Compare(b.Addr())) })
	var out []netip.Prefix
	for _, n := range nets {
		if !slices.ContainsFunc(out, n.Overlaps) {
			out = append(out, n)
		}
	}
	return out
}

// listOf writes a set of values in nft's words.
func listOf[T fmt.Stringer](values []T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.String()
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

// fromLinks is the condition that a packet came in by one of some links.
func fromLinks(z Zone, links ...string) match {
	return match{"iifname " + linkList(links), func(p Packet) bool { return p.Zone == z }}
}

// toLinks is the condition that a packet is to go out by one of some links.
func toLinks(z Zone, links ...string) match {
	return match{"oifname " + linkList(links), func(p Packet) bool { return p.To == z }}
}

func linkList(links []string) string {
	if len(links) == 1 && !strings.HasSuffix(links[0], "*") {
		return strconv.Quote(links[0])
	}
	words := make([]string, len(links))
	for i, l := range links {
		words[i] = strconv.Quote(l)
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

// toPorts is the condition that a packet is for some ports.
func toPorts(protocol string, first, last uint16) match {
	ports := strconv.Itoa(int(first))
	if last != first {
		ports += "-" + strconv.Itoa(int(last))
	}
	return match{protocol + " dport " + ports, func(p Packet) bool {
		return p.Protocol == protocol && first <= p.Port && p.Port <= last
	}}
}

func to(s Service) match { return toPorts(s.Protocol, s.First, s.Last) }

// allows makes an accepting rule for each service that is chosen.
func (c Config) allows(chosen func(Service) bool) []rule {
	var out []rule
	for _, s := range c.Services {
		if chosen(s) {
			out = append(out, rule{matches: []match{to(s)}, verdict: "accept", comment: s.Name})
		}
	}
	return out
}
