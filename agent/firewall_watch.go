package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/firewall"
)

// firewallFacts looks at what the ruleset depends on. The caller holds a.mu.
func (a *Agent) firewallFacts(ctx context.Context) firewallFacts {
	f := firewallFacts{sshPorts: sshd.Ports("/"), firewallRivals: a.seenRivals()}
	if p, err := a.history.Pending(); err == nil && p != nil {
		f.tentative = true
	}
	if !a.rivalsDue.Swap(false) && time.Since(a.rivalsSeen) < rivalsEvery {
		return f
	}
	a.rivalsSeen = time.Now()
	rivals, err := lookForRivals(ctx)
	if err != nil {
		a.log.Debug("cannot look for another firewall", "err", err)
		return f
	}
	if rivals.sangoma != f.sangoma {
		a.log.Warn("FreePBX's own firewall comes or goes: only one of the two filters", "active", rivals.sangoma)
	}
	a.rivals.Store(&rivals)
	f.firewallRivals = rivals
	return f
}

// seenRivals are the other firewalls that were seen last.
func (a *Agent) seenRivals() firewallRivals {
	if r := a.rivals.Load(); r != nil {
		return *r
	}
	return firewallRivals{}
}

// FreePBXFirewall reports whether FreePBX's own firewall is active.
func FreePBXFirewall(ctx context.Context) (bool, error) {
	r, err := lookForRivals(ctx)
	return r.sangoma, err
}

// lookForRivals looks for other firewalls.
func lookForRivals(ctx context.Context) (r firewallRivals, err error) {
	all, err := firewall.Foreigners(ctx)
	for _, c := range all {
		if c.Chain == sangomaChain {
			r.sangoma = true
		}
		if c.Hook == "forward" && c.Policy == "drop" {
			r.closes = c.Family + " " + c.Table + " " + c.Chain
		}
	}
	return r, err
}

// exemptNets are networks that must not be banned now: the machine's own
// addresses, its containers' networks, and where its operators are.
func exemptNets() []netip.Prefix {
	var out []netip.Prefix
	links, _ := net.Interfaces() // what cannot be seen is not exempt
	for _, l := range links {
		addrs, _ := l.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil:
			case isContainerLink(l.Name):
				out = append(out, p.Masked())
			default:
				out = append(out, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
			}
		}
	}
	for _, a := range sshd.Operators("/") {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

func isContainerLink(name string) bool {
	return slices.ContainsFunc(containerLinks, func(pattern string) bool {
		begin, any := strings.CutSuffix(pattern, "*")
		return name == begin || any && strings.HasPrefix(name, begin)
	})
}

// firewallProblems says what is wrong with the ruleset.
func (a *Agent) firewallProblems(c *config.Config) (out []problem.Problem) {
	rivals := a.seenRivals()
	add := func(severity problem.Severity, what, fix string) {
		out = append(out, problem.Problem{Severity: severity, Part: "firewall", What: what, Fix: fix})
	}
	if !c.Firewall.Enabled {
		return nil
	}
	if rivals.sangoma {
		add(problem.Warning, "FreePBX's own firewall is active, so ours only watches: no rules of ours are in force",
			"sae-agent takeover disables it; or write firewall: {enabled: false} to keep it")
		return out
	}
	if rivals.closes != "" && c.WAN.Method != config.WANNone {
		add(problem.Warning, fmt.Sprintf("the LAN may not reach the Internet: the chain %q, which is not ours, drops what it does not know (Docker makes it so)", rivals.closes),
			"iptables -P FORWARD ACCEPT: what must stay closed is closed by our own rules")
	}
	m := a.firewall.Load()
	if m == nil {
		return out // the part's own problem says why
	}
	if st := m.Status(); st.Problem != "" {
		add(problem.Error, st.Problem, "sae-agent firewall show has the rules; journalctl -u sae-agent says more")
	}
	if operators := outsiders(m.Config(), sshd.Operators("/")); len(operators) > 0 && !opens(c, "ssh") && !sshOpened(m.Config()) {
		add(problem.Warning, fmt.Sprintf("somebody is logged in from %v, but SSH is closed to the Internet: this session lives on, a new one will not open", operators[0]),
			"add ssh to firewall.wan_allow, or the address to firewall.allow and its port to wan_allow")
	}
	return out
}

// outsiders are those addresses that are judged as coming from the Internet.
func outsiders(c firewall.Config, addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return a.IsLoopback() || c.ZoneOf(a) != firewall.ZoneWAN
	})
}

// sshOpened reports whether a port of the SSH server is open to the Internet,
// under whatever name.
func sshOpened(c firewall.Config) bool {
	return slices.ContainsFunc(sshd.Ports("/"), func(p uint16) bool {
		return firewall.Decide(c, firewall.Packet{Zone: firewall.ZoneWAN, From: netip.IPv4Unspecified(), To: firewall.ZoneLocal, Protocol: "tcp", Port: p}).Accept
	})
}
