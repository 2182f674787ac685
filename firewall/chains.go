package firewall

import (
	"fmt"
	"net/netip"
)

// Conditions about connections (conntrack), for which an asker's packet is the first.
var (
	answers     = match{"ct direction reply ct state established,related", matchesNoPacket}
	established = match{"ct state established,related", matchesNoPacket}
	invalid     = match{"ct state invalid", matchesNoPacket}
	related     = match{"ct state related", matchesNoPacket}
	translated  = match{"ct status dnat", func(p Packet) bool { return p.Published }}
	isICMP      = match{"meta l4proto { icmp, ipv6-icmp }", func(p Packet) bool { return p.Protocol == "icmp" }}
	toOthers    = match{"fib daddr type unicast", func(p Packet) bool { return p.To != ZoneLocal && !p.Published }}
)

// icmpMustPass are the messages without which the Internet does not work: RFC
// 4890 section 4.4, and ping. Errors about our connections are "related".
var icmpMustPass = []rule{
	{matches: []match{{"icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem }", isICMP.holds}}, verdict: "accept", comment: "ping, path MTU"},
	{matches: []match{{"icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }", isICMP.holds}}, verdict: "accept", comment: "ping, neighbours, routers, path MTU"},
}

// guard sees every packet first, before anybody's DNAT, and sorts them by where
// they come from.
func (c Config) guard() chain {
	rules := []rule{{matches: []match{fromLinks(ZoneLocal, "lo")}, verdict: "accept"}}
	if c.WAN != "" { // first, so that no pattern of another zone takes it
		rules = append(rules, rule{matches: []match{fromLinks(ZoneWAN, c.WAN)}, verdict: "goto from_wan"})
	}
	rules = append(rules, rule{matches: []match{fromLinks(ZoneLAN, c.LAN)}, verdict: "goto from_lan"})
	if len(c.Containers) > 0 {
		rules = append(rules, rule{matches: []match{fromLinks(ZoneContainers, c.Containers...)}, verdict: "accept", comment: "containers: see input and forward"})
	}
	if len(c.Trusted) > 0 {
		rules = append(rules, rule{matches: []match{fromLinks(ZoneTrusted, c.Trusted...)}, verdict: "accept", comment: "trusted links"})
	}
	rules = append(rules, rule{verdict: "goto from_wan", comment: "links that are named nowhere"})
	return chain{"guard", "type filter hook prerouting priority mangle", rules}
}

// fromWAN judges who sends.
func (c Config) fromWAN() chain {
	rules := []rule{
		{matches: []match{answers}, verdict: "accept", comment: "answers to what was begun from here"},
		{matches: []match{isICMP, related}, verdict: "accept", comment: "errors about connections"},
	}
	inside := append([]string{c.LAN}, c.Containers...)
	rules = append(rules,
		rule{matches: []match{{"fib saddr type { local, broadcast, multicast }", matchesNoPacket}}, counter: dropBogus, verdict: "drop", comment: "forged: our own address, or nobody's"},
		rule{matches: []match{{"fib saddr oifname " + linkList(inside), func(p Packet) bool { return c.inLAN(p.From) }}}, counter: dropBogus, verdict: "drop", comment: "forged: it belongs on the LAN or to a container"},
	)
	rules = append(rules, fromNets(c.Allow, rule{verdict: "goto from_allowed", comment: "allow list"})...)
	rules = append(rules, inBoth(setKnown, rule{verdict: "goto from_allowed", comment: "allow list by name, registered phones"})...)
	rules = append(rules, inBoth(setBan, rule{counter: dropBanned, verdict: "drop", comment: "banned"})...)
	rules = append(rules, inBoth(setShield, rule{counter: dropShield, verdict: "drop", comment: "banned by the SIP shield"})...)
	for _, s := range c.Services {
		if s.SIP && s.WAN {
			rules = append(rules, rule{matches: []match{to(s)}, verdict: "jump sip_" + s.Protocol, comment: s.Name + ": shield"})
		}
	}
	rules = append(rules, rule{verdict: "goto wan_services"})
	return chain{"from_wan", "", rules}
}

// fromAllowed is for senders that are never banned.
func (c Config) fromAllowed() chain {
	rules := c.closedForEver()
	rules = append(rules, c.allows(func(s Service) bool { return s.Allowed && !s.WAN && !s.LANOnly })...)
	rules = append(rules, rule{verdict: "goto wan_services"})
	return chain{"from_allowed", "", rules}
}

// closedForEver are the services that only the LAN may ever reach.
func (c Config) closedForEver() []rule {
	var out []rule
	for _, s := range c.Services {
		if s.LANOnly {
			out = append(out, rule{matches: []match{to(s)}, counter: dropWAN, verdict: "drop", comment: s.Name + ": LAN only"})
		}
	}
	return out
}

// wanServices is what the Internet may reach. A service's packets are accepted
// whatever conntrack thinks of them: a session that was open before conntrack
// began lives on, also with nf_conntrack_tcp_loose off.
func (c Config) wanServices() chain {
	rules := c.closedForEver()
	rules = append(rules, rule{matches: []match{established}, verdict: "accept"})
	rules = append(rules, openBefore()...)
	rules = append(rules, icmpMustPass...)
	rules = append(rules,
		rule{matches: []match{{"udp sport 67 udp dport 68", matchesNoPacket}}, verdict: "accept", comment: "answers of the provider's DHCP server"},
		rule{matches: []match{{"ip6 saddr fe80::/10 udp sport 547 udp dport 546", matchesNoPacket}}, verdict: "accept", comment: "answers of the provider's DHCPv6 server"},
	)
	rules = append(rules, c.allows(func(s Service) bool { return s.WAN && !s.LANOnly })...)
	for _, s := range c.Services {
		if s.From.IsValid() && !s.LANOnly {
			rules = append(rules, fromNets([]netip.Prefix{s.From}, rule{matches: []match{to(s)}, verdict: "accept", comment: s.Name + " from " + s.From.String()})...)
		}
	}
	rules = append(rules,
		rule{matches: []match{toOthers}, verdict: "accept", comment: "not for this machine: see forward"},
		rule{counter: dropWAN, verdict: "drop", comment: "closed to the Internet"},
	)
	return chain{"wan_services", "", rules}
}

// fromLAN drops what cannot come from the LAN. What may be reached is decided
// after DNAT, in input and forward, since whatever is published is published for
// the LAN.
func (c Config) fromLAN() chain {
	return chain{"from_lan", "", []rule{
		{matches: []match{{"udp dport 67", func(p Packet) bool { return p.Protocol == "udp" && p.Port == 67 }}}, verdict: "accept", comment: "DHCP, from machines without an address"},
		{matches: []match{isICMP}, verdict: "accept"},
		{matches: []match{{"fib saddr . iif oif missing", func(p Packet) bool { return len(c.LANNets) > 0 && p.From.Is4() && !c.inLAN(p.From) }}}, counter: dropBogus, verdict: "drop", comment: "forged: it does not belong on the LAN"},
	}}
}

// input judges what is for this machine, after DNAT. What comes from outside has
// passed the guard.
func (c Config) input() chain {
	fromLAN := fromLinks(ZoneLAN, c.LAN)
	var rules []rule
	for _, s := range c.Services {
		if s.SIP && s.LAN && s.Protocol == "udp" { // every packet, also those of a conversation
			rules = append(rules, rule{matches: []match{fromLAN, to(s)}, verdict: "jump lan_sip", comment: s.Name + ": brake"})
		}
	}
	rules = append(rules,
		rule{matches: []match{established}, verdict: "accept"},
		rule{matches: []match{fromLAN}, verdict: "goto lan_services"},
	)
	if len(c.Containers) > 0 {
		notWAN := fromLinks(ZoneContainers, c.Containers...)
		if c.WAN != "" {
			notWAN.text = "iifname != " + linkList([]string{c.WAN}) + " " + notWAN.text
		}
		rules = append(rules, rule{matches: []match{notWAN}, verdict: "goto container_services"})
	}
	return chain{"input", "type filter hook input priority filter", rules}
}

// openBefore accepts sessions that connection tracking has not seen begin,
// whatever port they are for, and whoever began them.
func openBefore() []rule {
	var out []rule
	for i, ip := range []string{"ip", "ip6"} {
		key := fmt.Sprintf("%[1]s saddr . tcp sport . %[1]s daddr . tcp dport @%s%s", ip, setOpen, families[i].suffix)
		out = append(out, rule{matches: []match{{key, matchesNoPacket}}, verdict: "accept", comment: "sessions that were open before the rules"})
	}
	return out
}

// lanServices is what the LAN may reach. As for the WAN, open sessions live on.
func (c Config) lanServices() chain {
	rules := []rule{{matches: []match{{"icmpv6 type nd-router-advert", matchesNoPacket}}, counter: dropLAN, verdict: "drop", comment: "nobody on the LAN is our router"}}
	rules = append(rules, rule{matches: []match{isICMP}, verdict: "accept"})
	rules = append(rules, openBefore()...)
	rules = append(rules, c.allows(func(s Service) bool { return s.LAN })...)
	rules = append(rules, rule{counter: dropLAN, verdict: "drop", comment: "closed to the LAN"})
	return chain{"lan_services", "", rules}
}

// containerServices is what containers may reach.
func (c Config) containerServices() chain {
	rules := []rule{{matches: []match{isICMP}, verdict: "accept"}}
	rules = append(rules, c.allows(func(s Service) bool { return s.Containers })...)
	rules = append(rules, rule{counter: dropContainers, verdict: "drop", comment: "closed to containers"})
	return chain{"container_services", "", rules}
}

// forward judges what goes through. Links that are named nowhere may do among
// themselves what they like: they are somebody else's.
func (c Config) forward() chain {
	drop := func(comment string, m ...match) rule {
		return rule{matches: m, counter: dropForward, verdict: "drop", comment: comment}
	}
	accept := func(comment string, m ...match) rule {
		return rule{matches: m, verdict: "accept", comment: comment}
	}
	fromLAN := fromLinks(ZoneLAN, c.LAN)
	var rules []rule
	if c.WAN != "" {
		rules = append(rules, rule{
			matches: []match{toLinks(ZoneWAN, c.WAN), {"tcp flags syn / syn,rst", matchesNoPacket}},
			action:  "tcp option maxseg size set rt mtu", comment: "for uplinks with a small MTU",
		})
	}
	rules = append(rules,
		accept("", established),
		rule{matches: []match{invalid}, counter: dropInvalid, verdict: "drop"},
	)
	if c.WAN != "" {
		rules = append(rules,
			accept("published ports that the guard let pass", fromLinks(ZoneWAN, c.WAN), translated),
			drop("from the Internet to the LAN or to containers", fromLinks(ZoneWAN, c.WAN)),
		)
	}
	if len(c.Containers) > 0 {
		rules = append(rules,
			accept("published ports", fromLAN, toLinks(ZoneContainers, c.Containers...), translated),
			drop("to containers past their published ports", fromLAN, toLinks(ZoneContainers, c.Containers...)),
			accept("containers may reach the LAN and the Internet", fromLinks(ZoneContainers, c.Containers...)),
		)
	}
	if len(c.Trusted) > 0 {
		rules = append(rules, accept("trusted links", fromLinks(ZoneTrusted, c.Trusted...)))
	}
	rules = append(rules,
		accept("the LAN may reach the Internet", fromLAN),
		drop("into the LAN", toLinks(ZoneLAN, c.LAN)),
	)
	return chain{"forward", "type filter hook forward priority filter", rules}
}

// masquerade gives the LAN the WAN's address on its way out.
func (c Config) masquerade() chain {
	rules := fromNets(c.LANNets, rule{matches: []match{toLinks(ZoneWAN, c.WAN)}, verdict: "masquerade", comment: "the LAN behind the WAN's address"})
	return chain{"source_nat", "type nat hook postrouting priority srcnat", rules}
}
