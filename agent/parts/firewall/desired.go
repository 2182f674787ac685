package firewall

import (
	"net/netip"
	"slices"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/firewall"
)

// containerLinks are Docker's bridges: its own, those of its networks, and those
// that our stacks name.
var containerLinks = []string{"docker0", "br-*", "sae-*"}

// sangomaChain is what FreePBX's own firewall filters in while it is active.
const sangomaChain = "fpbxfirewall"

// Ports that the port plan does not name.
const (
	portSIPS  = 5061 // SIP over TLS, RFC 3261 section 19.1.2
	portHTTP  = 80   // FreePBX's pages
	portHTTPS = 443
	portMDNS  = 5353
)

// Facts are what the ruleset depends on besides the configuration.
type Facts struct {
	SSHPorts  []uint16 // of this machine's SSH server
	Tentative bool     // the configuration waits for its confirmation
	Others
}

// Others are other firewalls on this machine.
type Others struct {
	Sangoma bool   // FreePBX's own is active
	Closes  string // a chain of somebody else's that forwards nothing that it does not know
}

// Desired is what may pass. The rules are kept in dir.
func Desired(c *config.Config, f Facts, dir string) firewall.Config {
	out := firewall.Config{
		Disabled: !c.Firewall.Enabled || f.Sangoma,
		LAN:      c.LAN.Interface, LANNets: []netip.Prefix{c.LAN.Address.Masked()},
		Containers: containerLinks, Trusted: c.Firewall.Trusted, Services: services(c, f),
		Shield: firewall.DefaultShield(), Marks: marks(c), StateDir: dir, Tentative: f.Tentative,
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

// services are the ports of the port plan and those that the operator
// adds, with who may reach them.
func services(c *config.Config, f Facts) []firewall.Service {
	var out []firewall.Service
	for _, p := range f.SSHPorts {
		out = append(out, firewall.Service{Name: string(config.UseSSH), Protocol: "tcp", First: p, Last: p, LAN: true, WAN: c.WANOpen("ssh")})
	}
	for _, p := range c.PortPlan() {
		s := firewall.Service{Name: string(p.Use), Protocol: p.Protocol, First: p.First, Last: p.Last, LAN: true}
		switch p.Use {
		case config.UseSSH, config.UseFreePBX, config.UseConsole:
			continue // where it really is, see above; below
		case config.UseManager:
			continue // on this machine alone
		case config.UseDHCP, config.UseTFTP, config.UseHTTP, config.UseMetrics:
			s.LANOnly = true
		case config.UseSIP:
			s.SIP, s.Containers, s.Allowed, s.WAN = true, true, true, c.WANOpen("sip")
			if p.Protocol == "tcp" && p.First == portSIPS {
				s.WAN = c.WANOpen("sips")
			}
		case config.UseRTP:
			s.Containers, s.Allowed, s.WAN = true, true, c.WANOpen("rtp")
		case config.UseJitsi, config.UseJitsiMedia, config.UseJitsiGateway:
			s.Published, s.Containers, s.WAN = true, true, c.WANOpen("jitsi")
		case config.UseNextcloud:
			s.Published, s.Containers, s.WAN = true, true, c.WANOpen("nextcloud")
		}
		if !slices.Contains(out, s) { // the agent's HTTP server, on two addresses
			out = append(out, s)
		}
	}
	if c.PBX.Driver != config.DriverNone {
		if c.PBX.Port != portSIPS {
			out = append(out, firewall.Service{Name: "SIP over TLS", Protocol: "tcp", First: portSIPS, Last: portSIPS, LAN: true, Containers: true, Allowed: true, SIP: true, WAN: c.WANOpen("sips")})
		}
		out = append(out,
			firewall.Service{Name: "HTTP", Protocol: "tcp", First: portHTTP, Last: portHTTP, LAN: true, WAN: c.WANOpen("http")},
			firewall.Service{Name: "HTTPS", Protocol: "tcp", First: portHTTPS, Last: portHTTPS, LAN: true, WAN: c.WANOpen("https")},
		)
	}
	out = append(out, consoleServices(c)...)
	return append(out, ownServices(c)...)
}

// consoleServices are the ports of the console, for the LAN and for the networks that
// the operator names. The console itself asks again where a browser comes from.
func consoleServices(c *config.Config) (out []firewall.Service) {
	if !c.Console.Enabled {
		return nil
	}
	for _, port := range c.ConsolePorts() {
		s := firewall.Service{Name: string(config.UseConsole), Protocol: "tcp", First: port, Last: port, LAN: true}
		out = append(out, s)
		for _, from := range c.Console.Allow {
			s.LAN, s.From = false, from.Masked()
			out = append(out, s)
		}
	}
	return append(out, firewall.Service{Name: "the console's name in .local", Protocol: "udp", First: portMDNS, Last: portMDNS, LAN: true, LANOnly: true})
}

// ownServices are the ports that firewall.wan_allow and lan_allow have as numbers.
func ownServices(c *config.Config) (out []firewall.Service) {
	for _, s := range c.Firewall.LANAllow {
		out = append(out, firewall.Service{
			Name: "lan_allow " + s.String(), Protocol: s.Protocol, First: s.Ports.First, Last: s.Ports.Last, LAN: true,
		})
	}
	for _, s := range c.Firewall.WANAllow {
		if s.Name == "" {
			out = append(out, firewall.Service{
				Name: "wan_allow " + s.String(), Protocol: s.Protocol, First: s.Ports.First, Last: s.Ports.Last, WAN: true, LAN: true, Containers: true, Published: true,
			})
		}
	}
	return out
}
