package firewall

import (
	"encoding/hex"
	"fmt"
	"time"
)

// A request over UDP begins with its method (RFC 3261 section 7.1), right after
// the UDP header of 8 bytes.
const payload = 64 // bits

// begins is the condition that a datagram begins with text.
func begins(text string) match {
	return match{fmt.Sprintf("@th,%d,%d 0x%s", payload, 8*len(text), hex.EncodeToString([]byte(text))), matchesNoPacket}
}

// scanners are tools that say who they are in the first bytes: what sipvicious'
// svmap and nmap's SIP probe ask for. A spoofed name costs an attacker nothing,
// so this only saves us the packets until a limit is reached.
var scanners = []struct{ name, begin string }{
	{"sipvicious", "OPTIONS sip:100@"},
	{"nmap", "OPTIONS sip:nm "},
}

// limit is the condition that a sender exceeds a rate. When the meter is full, it
// holds for nobody.
func limit(f family, meter string, r Rate) match {
	return match{fmt.Sprintf("update @meter_%s%s { %s limit rate over %d/%s burst %d packets }", meter, f.suffix, f.sender, r.Packets, r.unit(), r.Burst), matchesNoPacket}
}

// overLimit makes a rule for each family.
func overLimit(meter string, r Rate, then rule) []rule {
	var out []rule
	for _, f := range families {
		one := then
		one.matches = append(append([]match{}, then.matches...), limit(f, meter, r))
		out = append(out, one)
	}
	return out
}

// shieldChains are the chains that strangers' SIP goes through, and the LAN's.
func (c Config) shieldChains() []chain {
	var udp, tcp, lan bool
	for _, s := range c.Services {
		udp = udp || s.SIP && s.WAN && s.Protocol == "udp"
		tcp = tcp || s.SIP && s.WAN && s.Protocol == "tcp"
		lan = lan || s.SIP && s.LAN && s.Protocol == "udp"
	}
	var out []chain
	if udp {
		out = append(out, c.sipUDP(), punish("sip_punish_udp", c.Shield.Bans))
	}
	if tcp {
		out = append(out, c.sipTCP(), punish("sip_punish_tcp", c.Shield.ConnectionBans))
	}
	if lan {
		out = append(out, c.lanSIP())
	}
	return out
}

func (c Config) sipUDP() chain {
	var rules []rule
	for _, s := range scanners {
		rules = append(rules, rule{matches: []match{begins(s.begin)}, counter: dropScanner, verdict: "goto sip_punish_udp", comment: "scanner: " + s.name})
	}
	for _, m := range []struct {
		begin, meter, counter string
		rate                  Rate
	}{
		{"OPTIONS ", "sip_options", dropOptions, c.Shield.Options},
		{"REGISTER", "sip_register", dropRegister, c.Shield.Register},
		{"INVITE ", "sip_invite", dropInvite, c.Shield.Invite},
	} {
		rules = append(rules, overLimit(m.meter, m.rate, rule{
			matches: []match{begins(m.begin)}, counter: m.counter, verdict: "goto sip_punish_udp",
		})...)
	}
	return chain{"sip_udp", "", append(rules, c.global())}
}

func (c Config) sipTCP() chain {
	opens := match{"tcp flags & (syn | ack) == syn", matchesNoPacket}
	rules := overLimit("sip_connections", c.Shield.Connections, rule{matches: []match{opens}, counter: dropConnections, verdict: "goto sip_punish_tcp"})
	global := c.global()
	global.matches = append([]match{opens}, global.matches...)
	return chain{"sip_tcp", "", append(rules, global)}
}

// global is the limit for all strangers together.
func (c Config) global() rule {
	r := c.Shield.Global
	return rule{
		matches: []match{{fmt.Sprintf("limit rate over %d/%s burst %d packets", r.Packets, r.unit(), r.Burst), matchesNoPacket}},
		counter: dropFlood, verdict: "drop", comment: "for all strangers together",
	}
}

// punish bans a sender: the longer, the more often it was banned within a day. A
// sender that no set has room for is only dropped.
func punish(name string, bans [3]time.Duration) chain {
	var rules []rule
	for _, f := range families {
		add := func(set string, timeout time.Duration) match {
			t := ""
			if timeout > 0 {
				t = fmt.Sprintf(" timeout %ds", int(timeout.Seconds()))
			}
			return match{fmt.Sprintf("add @%s%s { %s%s }", set, f.suffix, f.sender, t), matchesNoPacket}
		}
		for _, step := range [][]match{
			{in(f, setTwice), add(setShield, bans[2])},
			{in(f, setOnce), add(setTwice, 0), add(setShield, bans[1])},
			{add(setOnce, 0), add(setShield, bans[0])},
		} {
			rules = append(rules, rule{matches: step, verdict: "drop"})
		}
	}
	return chain{name, "", append(rules, rule{verdict: "drop"})}
}

// lanSIP slows down machines of the LAN that register without end, and bans none.
func (c Config) lanSIP() chain {
	register := begins("REGISTER")
	var rules []rule
	for _, f := range families {
		rules = append(rules, rule{
			matches: []match{register, in(f, setSlow), limit(f, "lan_slow", c.Shield.Slow)},
			counter: dropLANRegister, verdict: "drop", comment: "fails to register again and again",
		})
	}
	rules = append(rules, overLimit("lan_register", c.Shield.LAN, rule{
		matches: []match{register}, counter: dropLANRegister, verdict: "drop", comment: "registers without end",
	})...)
	return chain{"lan_sip", "", rules}
}

// marks gives packets their class on the way out, whether we or somebody behind
// us sent them.
func (c Config) marks() chain {
	var rules []rule
	for _, m := range c.Marks {
		ports := fmt.Sprint(m.First)
		if m.Last != m.First {
			ports = fmt.Sprintf("%d-%d", m.First, m.Last)
		}
		for _, end := range []string{"sport", "dport"} {
			for _, ip := range []string{"ip", "ip6"} {
				rules = append(rules, rule{
					matches: []match{{fmt.Sprintf("%s %s %s", m.Protocol, end, ports), matchesNoPacket}},
					action:  fmt.Sprintf("%s dscp set %d", ip, m.DSCP), comment: m.Name,
				})
			}
		}
	}
	return chain{"classes", "type filter hook postrouting priority mangle", rules}
}
