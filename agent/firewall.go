package agent

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/firewall"
)

// containerLinks are Docker's bridges: its own, those of its networks, and those
// that our stacks name.
var containerLinks = []string{"docker0", "br-*", "sae-*"}

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
			if p.Protocol == "tcp" && p.First == portSIPS {
				s.WAN = opens(c, "sips")
			}
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
		OnOthers: func() {
			a.rivalsDue.Store(true)
			a.wake()
		},
		OnLook: func(took time.Duration, err error) { a.reconciled("firewall", took, err) },
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

// bringFirewallInLine puts the ruleset of a configuration in force without the daemon.
func (o Offline) bringFirewallInLine(ctx context.Context, cfg *config.Config) error {
	rivals, err := lookForRivals(ctx)
	if err != nil {
		return err
	}
	f := firewallFacts{sshPorts: sshd.Ports("/"), firewallRivals: rivals}
	return firewall.Once(ctx, desiredFirewall(cfg, f, o.StateDir), firewall.Options{Logger: o.Logger})
}
