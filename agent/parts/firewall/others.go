package firewall

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

// othersEvery is how often other firewalls are looked for.
const othersEvery = 20 * time.Second

// othersChanged has other firewalls looked for at once.
func (p *Part) othersChanged() {
	p.mu.Lock()
	p.due = true
	p.mu.Unlock()
	p.host.Changed()
}

// watchOthers returns the other firewalls, as they were seen a short while ago at
// most.
func (p *Part) watchOthers(ctx context.Context) Others {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.due && time.Since(p.seen) < othersEvery {
		return p.others
	}
	p.due, p.seen = false, time.Now()
	found, err := FindOthers(ctx)
	if err != nil {
		p.host.Logger(name).Debug("cannot look for another firewall", "err", err)
		return p.others
	}
	if found.Sangoma != p.others.Sangoma {
		p.host.Logger(name).Warn("FreePBX's own firewall comes or goes: only one of the two filters", "active", found.Sangoma)
	}
	p.others = found
	return found
}

// seenOthers are the other firewalls that were seen last.
func (p *Part) seenOthers() Others {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.others
}

// FindOthers looks for other firewalls.
func FindOthers(ctx context.Context) (o Others, err error) {
	all, err := firewall.Foreigners(ctx)
	for _, c := range all {
		if c.Chain == sangomaChain {
			o.Sangoma = true
		}
		if c.Hook == "forward" && c.Policy == "drop" {
			o.Closes = c.Family + " " + c.Table + " " + c.Chain
		}
	}
	return o, err
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

func isContainerLink(name string) bool { return matches(containerLinks, name) }

// matches reports whether a link has one of some names; * at the end stands for the rest.
func matches(patterns []string, link string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		begin, any := strings.CutSuffix(pattern, "*")
		return link == begin || any && strings.HasPrefix(link, begin)
	})
}

// problems says what is wrong with the ruleset.
func (p *Part) problems(c *config.Config) (out []problem.Problem) {
	others := p.seenOthers()
	add := func(id problem.ID, severity problem.Severity, what, fix string) {
		out = append(out, problem.Problem{ID: id, Severity: severity, Part: name, What: what, Fix: fix})
	}
	if !c.Firewall.Enabled {
		return nil
	}
	if others.Sangoma {
		add(problem.FirewallOther, problem.Warning, "FreePBX's own firewall is active, so ours only watches: no rules of ours are in force",
			"sae-agent takeover disables it; or write firewall: {enabled: false} to keep it")
		return out
	}
	if others.Closes != "" && c.WAN.Method != config.WANNone {
		add(problem.ForwardingClosed, problem.Warning, fmt.Sprintf("the LAN may not reach the Internet: the chain %q, which is not ours, drops what it does not know (Docker makes it so)", others.Closes),
			fmt.Sprintf("nft 'chain %s { policy accept; }': what must stay closed is closed by our own rules", others.Closes))
	}
	m := p.manager.Load()
	if m == nil {
		return out // the part's own problem says why
	}
	if st := m.Status(); st.Problem != "" {
		add(problem.FirewallTrouble, problem.Error, st.Problem, "sae-agent firewall show has the rules; journalctl -u sae-agent says more")
	}
	if operators := outsiders(m.Config(), sshd.Operators("/")); len(operators) > 0 && !c.WANOpen("ssh") && !sshOpened(m.Config()) {
		add(problem.SSHClosed, problem.Warning, fmt.Sprintf("somebody is logged in from %v, but SSH is closed to the Internet: this session lives on, a new one will not open", operators[0]),
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

// ContainerNets are the networks of this machine's containers, in order.
func ContainerNets() (out []netip.Prefix) {
	links, _ := net.Interfaces() // what cannot be seen is refused when it is to be banned
	for _, l := range links {
		if isContainerLink(l.Name) {
			out = append(out, networksOf(l)...)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

func networksOf(l net.Interface) (out []netip.Prefix) {
	addrs, _ := l.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.Masked())
		}
	}
	return out
}
