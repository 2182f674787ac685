package firewall

import (
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/firewall"
)

// Classes of packets (DSCP): RFC 4594 section 2.3.
const (
	dscpEF   = 46 // voice
	dscpAF41 = 34 // video
	dscpCS3  = 24 // signalling
)

// marks are the classes that packets get on their way out, by the port
// plan, whether we send them or forward them: Asterisk marks nothing by itself,
// and what comes back from a container has lost its mark.
func marks(c *config.Config) []firewall.Mark {
	var out []firewall.Mark
	for _, p := range c.PortPlan() {
		m := firewall.Mark{Name: string(p.Use), Protocol: p.Protocol, First: p.First, Last: p.Last}
		switch p.Use {
		case config.UseSIP:
			m.DSCP = dscpCS3
		case config.UseRTP, config.UseJitsiGateway:
			m.DSCP = dscpEF
		case config.UseJitsiMedia:
			m.DSCP = dscpAF41
		default:
			continue
		}
		out = append(out, m)
	}
	if c.PBX.Driver != config.DriverNone && c.PBX.Port != portSIPS {
		out = append(out, firewall.Mark{Name: "SIP over TLS", Protocol: "tcp", First: portSIPS, Last: portSIPS, DSCP: dscpCS3})
	}
	return out
}
