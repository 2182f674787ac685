package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/firewall"
)

// containerLinks are Docker's bridges: its own and those of its networks.
var containerLinks = []string{"docker0", "br-*"}

// rivalsEvery is how often other firewalls are looked for.
const rivalsEvery = 20 * time.Second

// sangomaChain is what FreePBX's own firewall filters in while it is active.
const sangomaChain = "fpbxfirewall"

// Ports that the port plan does not name.
const (
	portSIPS  = 5061 // SIP over TLS, RFC 3261 section 19.1.2
	portHTTP  = 80   // FreePBX's pages
	portHTTPS = 443
)

// firewallFacts are what the ruleset depends on besides the configuration.
type firewallFacts struct {
	sshPorts  []uint16 // of this machine's SSH server
	tentative bool     // the configuration waits for its confirmation
	firewallRivals
}

// firewallRivals are other firewalls on this machine.
type firewallRivals struct {
	sangoma bool   // FreePBX's own is active
	closes  string // a chain of somebody else's that forwards nothing that it does not know
}

// desiredFirewall is what may pass.
func desiredFirewall(c *config.Config, f firewallFacts, stateDir string) firewall.Config {
	out := firewall.Config{
		Disabled: !c.Firewall.Enabled || f.sangoma,
		LAN:      c.LAN.Interface, LANNets: []netip.Prefix{c.LAN.Address.Masked()},
		Containers: containerLinks, Trusted: c.Firewall.Trusted, Services: desiredServices(c, f),
		Shield: firewall.DefaultShield(), Marks: desiredMarks(c), StateDir: filepath.Join(stateDir, "firewall"), Tentative: f.tentative,
	}
	if c.WAN.Method != config.WANNone {
		out.WAN = c.WAN.Interface
	}
	for _, s := range c.Firewall.Allow {
		if s.Host != "" {
			out.AllowNames = append(out.AllowNames, s.Host)
		} else {
			out.Allow = append(out.Allow, s.Prefix)
		}
	}
	return out
}

// desiredServices are the ports of the port plan and those that the operator
// adds, with who may reach them.
func desiredServices(c *config.Config, f firewallFacts) []firewall.Service {
	var out []firewall.Service
	for _, p := range f.sshPorts {
		out = append(out, firewall.Service{Name: string(config.UseSSH), Protocol: "tcp", First: p, Last: p, LAN: true, WAN: opens(c, "ssh")})
	}
	for _, p := range c.PortPlan() {
		s := firewall.Service{Name: string(p.Use), Protocol: p.Protocol, First: p.First, Last: p.Last, LAN: true}
		switch p.Use {
		case config.UseSSH, config.UseFreePBX:
			continue // where it really is, see above; below
		case config.UseManager:
			continue // on this machine alone
		case config.UseDHCP, config.UseTFTP, config.UseHTTP, config.UseMetrics:
			s.LANOnly = true
		case config.UseSIP:
			s.SIP, s.Containers, s.Allowed, s.WAN = true, true, true, opens(c, "sip")
		case config.UseRTP:
			s.Containers, s.Allowed, s.WAN = true, true, opens(c, "rtp")
		case config.UseJitsi, config.UseJitsiMedia, config.UseJitsiGateway:
			s.Published, s.Containers, s.WAN = true, true, opens(c, "jitsi")
		case config.UseNextcloud:
			s.Published, s.Containers, s.WAN = true, true, opens(c, "nextcloud")
		}
		if !slices.Contains(out, s) { // the agent's HTTP server, on two addresses
			out = append(out, s)
		}
	}
	if c.PBX.Driver != config.DriverNone {
		if c.PBX.Port != portSIPS {
			out = append(out, firewall.Service{Name: "SIP over TLS", Protocol: "tcp", First: portSIPS, Last: portSIPS, LAN: true, Containers: true, Allowed: true, SIP: true, WAN: opens(c, "sips")})
		}
		out = append(out,
			firewall.Service{Name: "HTTP", Protocol: "tcp", First: portHTTP, Last: portHTTP, LAN: true, WAN: opens(c, "http")},
			firewall.Service{Name: "HTTPS", Protocol: "tcp", First: portHTTPS, Last: portHTTPS, LAN: true, WAN: opens(c, "https")},
		)
	}
	return append(out, ownServices(c)...)
}

// opens reports whether firewall.wan_allow names a service.
func opens(c *config.Config, name string) bool {
	return slices.ContainsFunc(c.Firewall.WANAllow, func(s config.Service) bool { return s.Name == name })
}

// ownServices are the ports that firewall.wan_allow has as numbers.
func ownServices(c *config.Config) (out []firewall.Service) {
	for _, s := range c.Firewall.WANAllow {
		if s.Name == "" {
			out = append(out, firewall.Service{
				Name: "wan_allow " + s.String(), Protocol: s.Protocol, First: s.Ports.First, Last: s.Ports.Last, WAN: true, LAN: true, Containers: true, Published: true,
			})
		}
	}
	return out
}

// firewallFacts looks at what the ruleset depends on. The caller holds a.mu.
func (a *Agent) firewallFacts(ctx context.Context) firewallFacts {
	f := firewallFacts{sshPorts: sshd.Ports("/"), firewallRivals: a.seenRivals()}
	if p, err := a.history.Pending(); err == nil && p != nil {
		f.tentative = true
	}
	if time.Since(a.rivalsSeen) < rivalsEvery {
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

// wantFirewall brings the ruleset in line. The caller holds a.mu.
func (a *Agent) wantFirewall(cfg *config.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	a.units.firewall.want(a.parts, desiredFirewall(cfg, a.firewallFacts(ctx), a.opts.StateDir))
}

func (a *Agent) buildFirewall(_ context.Context, c firewall.Config) (supervisor.Part, error) {
	m, err := firewall.New(c, firewall.Options{
		Logger: a.log.With("part", "firewall"), Exempt: exemptNets,
		OnChange: func(firewall.Status) { a.wake() },
	})
	if err != nil {
		return nil, err
	}
	return a.measure(func(ctx context.Context) error {
		a.firewall.Store(m)
		defer a.firewall.Store(nil)
		return m.Run(ctx)
	}, m), nil
}

func (a *Agent) changeFirewall(c firewall.Config) bool {
	m := a.firewall.Load()
	if m == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	return m.Apply(ctx, c) == nil
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
func (a *Agent) firewallProblems(c *config.Config) (out []control.Problem) {
	rivals := a.seenRivals()
	add := func(severity control.Severity, what, fix string) {
		out = append(out, control.Problem{Severity: severity, Part: "firewall", What: what, Fix: fix})
	}
	if !c.Firewall.Enabled {
		return nil
	}
	if rivals.sangoma {
		add(control.SeverityWarning, "FreePBX's own firewall is active, so ours only watches: no rules of ours are in force",
			"sae-agent takeover disables it; or write firewall: {enabled: false} to keep it")
		return out
	}
	if rivals.closes != "" && c.WAN.Method != config.WANNone {
		add(control.SeverityWarning, fmt.Sprintf("the LAN may not reach the Internet: the chain %q, which is not ours, drops what it does not know (Docker makes it so)", rivals.closes),
			"iptables -P FORWARD ACCEPT: what must stay closed is closed by our own rules")
	}
	m := a.firewall.Load()
	if m == nil {
		return out // the part's own problem says why
	}
	if st := m.Status(); st.Problem != "" {
		add(control.SeverityError, st.Problem, "sae-agent firewall show has the rules; journalctl -u sae-agent says more")
	}
	if operators := outsiders(m.Config(), sshd.Operators("/")); len(operators) > 0 && !opens(c, "ssh") && !sshOpened(m.Config()) {
		add(control.SeverityWarning, fmt.Sprintf("somebody is logged in from %v, but SSH is closed to the Internet: this session lives on, a new one will not open", operators[0]),
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

// bringFirewallInLine puts the ruleset of a configuration in force without the daemon.
func (o Offline) bringFirewallInLine(ctx context.Context, cfg *config.Config) error {
	rivals, err := lookForRivals(ctx)
	if err != nil {
		return err
	}
	f := firewallFacts{sshPorts: sshd.Ports("/"), firewallRivals: rivals}
	return firewall.Once(ctx, desiredFirewall(cfg, f, o.StateDir), firewall.Options{Logger: o.Logger})
}
