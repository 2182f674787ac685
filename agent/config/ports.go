package config

import "fmt"

// PortUse says what a port of the port plan is for.
type PortUse string

// What ports are for.
const (
	UseSSH          PortUse = "SSH"
	UseDNS          PortUse = "DNS"
	UseDHCP         PortUse = "DHCP"
	UseTFTP         PortUse = "TFTP"
	UseNTP          PortUse = "NTP"
	UseSIP          PortUse = "SIP"
	UseRTP          PortUse = "voice of the PBX"
	UseHTTP         PortUse = "the agent's HTTP server"
	UseConsole      PortUse = "the console"
	UseMetrics      PortUse = "the server for /metrics"
	UseJitsi        PortUse = "Jitsi's page"
	UseJitsiMedia   PortUse = "Jitsi's video bridge"
	UseJitsiGateway PortUse = "voice of Jitsi's SIP gateway"
	UseNextcloud    PortUse = "Nextcloud's page"
	UseManager      PortUse = "the PBX's manager interface"
	UseFreePBX      PortUse = "FreePBX's web interface"
)

// PlannedPort is a port that the appliance uses, or a range of them.
type PlannedPort struct {
	PortRange
	Use      PortUse
	Protocol string // tcp or udp
	path     string // of the key that sets it; empty for ports that no key sets
}

// SIPPort is where the PBX speaks SIP without TLS: pbx.port, unless that is for phones with TLS.
func (c *Config) SIPPort() uint16 {
	if c.Provisioning.Transport == TransportTLS {
		return 5060
	}
	return c.PBX.Port
}

// PortPlan lists the ports that the appliance uses.
func (c *Config) PortPlan() []PlannedPort {
	one := func(p uint16) PortRange { return PortRange{p, p} }
	list := []PlannedPort{
		{one(22), UseSSH, "tcp", ""}, {one(53), UseDNS, "tcp", ""}, {one(53), UseDNS, "udp", ""},
		{one(67), UseDHCP, "udp", ""}, {one(69), UseTFTP, "udp", ""}, {one(123), UseNTP, "udp", ""},
	}
	if c.PBX.Driver != DriverNone {
		list = append(list,
			PlannedPort{one(c.SIPPort()), UseSIP, "udp", "pbx.port"}, PlannedPort{one(c.SIPPort()), UseSIP, "tcp", "pbx.port"},
			PlannedPort{one(5038), UseManager, "tcp", ""},
			PlannedPort{c.PBX.RTPPorts, UseRTP, "udp", "pbx.rtp_ports"})
		if c.PBX.Port != c.SIPPort() {
			list = append(list, PlannedPort{one(c.PBX.Port), UseSIP, "tcp", "pbx.port"})
		}
	}
	if c.PBX.Driver == DriverFreePBX {
		list = append(list, PlannedPort{one(80), UseFreePBX, "tcp", ""})
	}
	for i, l := range c.HTTP.Listen {
		list = append(list, PlannedPort{one(l.Port()), UseHTTP, "tcp", fmt.Sprintf("http.listen[%d]", i)})
	}
	for i, l := range c.HTTP.Metrics.Listen {
		list = append(list, PlannedPort{one(l.Port()), UseMetrics, "tcp", fmt.Sprintf("http.metrics.listen[%d]", i)})
	}
	if c.Console.Enabled && c.Console.Port != 0 {
		list = append(list, PlannedPort{one(c.Console.Port), UseConsole, "tcp", "console.port"})
	}
	if j := c.Stacks.Jitsi; j.Enabled {
		list = append(list,
			PlannedPort{one(j.HTTPSPort), UseJitsi, "tcp", "stacks.jitsi.https_port"},
			PlannedPort{one(j.MediaPort), UseJitsiMedia, "udp", "stacks.jitsi.media_port"},
			PlannedPort{j.GatewayPorts, UseJitsiGateway, "udp", "stacks.jitsi.gateway_ports"})
	}
	if n := c.Stacks.Nextcloud; n.Enabled {
		list = append(list, PlannedPort{one(n.HTTPSPort), UseNextcloud, "tcp", "stacks.nextcloud.https_port"})
	}
	return list
}

// ConsolePorts are where the console may be: the first of them that is free.
func (c *Config) ConsolePorts() (out []uint16) {
	if c.Console.Port != 0 {
		return []uint16{c.Console.Port}
	}
	const own = 9443
	for _, port := range []uint16{443, own} {
		taken := port == 443 && c.PBX.Driver == DriverFreePBX // Apache takes it on every address, or does not start
		for _, p := range c.PortPlan() {
			taken = taken || p.Protocol == "tcp" && p.overlaps(PortRange{port, port})
		}
		if !taken {
			out = append(out, port)
		}
	}
	if out == nil {
		out = []uint16{own} // which fails, and says so
	}
	return out
}
