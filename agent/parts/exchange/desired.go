package exchange

import (
	"net/netip"
	"slices"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

// Facts are what the exchange depends on besides the configuration.
type Facts struct {
	Pending          bool            // what runs waits for its confirmation
	TestAccounts     []pbx.Extension // of verify, while it runs
	Certificate, Key string          // in PEM, where the exchange needs them
	RoomHeader       string          // SIP header that names a meeting's room
}

// Config is what the exchange should be, and how it is reached.
type Config struct {
	driver config.Driver
	sip    netip.AddrPort // where it answers SIP over UDP
	want   pbx.Desired
}

// Desired is the exchange as it should be.
func Desired(c *config.Config, secrets map[string]string, f Facts) Config {
	x := Config{driver: c.PBX.Driver, sip: netip.AddrPortFrom(c.PBX.Address, c.SIPPort())}
	d := pbx.Desired{
		Transports: transports(c), Certificate: f.Certificate, Key: pbx.Secret(f.Key),
		RTPFirst: c.PBX.RTPPorts.First, RTPLast: c.PBX.RTPPorts.Last, Voicemail: c.PBX.Voicemail,
		Language: string(c.Site.Language), ManagerUser: managerUser, ManagerSecret: pbx.Secret(secrets[managerSecret]),
		KeepRemoved: f.Pending, LAN: c.LAN.Address,
	}
	for _, codec := range c.Provisioning.Codecs {
		d.Codecs = append(d.Codecs, string(codec))
	}
	for _, e := range c.Extensions {
		d.Extensions = append(d.Extensions, pbx.Extension{
			Number: e.Number, Name: e.Name, Secret: pbx.Secret(e.SecretFrom(secrets)), Voicemail: e.Voicemail,
		})
	}
	for _, e := range f.TestAccounts {
		e.Lent = true
		d.Extensions = append(d.Extensions, e)
	}
	for _, g := range c.Groups {
		d.Groups = append(d.Groups, pbx.Group{Number: g.Number, Name: g.Name, Members: g.Members, Strategy: pbx.Strategy(g.Strategy), Timeout: g.Timeout})
	}
	d.Gateway = gateway(c, secrets, f.RoomHeader, &d)
	x.want = d
	return x
}

// gateway is the account of the gateway into meetings. An extension of its number in the file names its secret.
func gateway(c *config.Config, secrets map[string]string, roomHeader string, d *pbx.Desired) *pbx.Gateway {
	j := c.Stacks.Jitsi
	if !j.Enabled {
		return nil
	}
	g := &pbx.Gateway{
		Extension:    pbx.Extension{Number: j.SIPExtension, Name: "Meetings", Secret: pbx.Secret(secrets[config.SecretName(j.SIPExtension)])},
		AccessNumber: j.AccessNumber, Room: j.Room, RoomHeader: roomHeader,
	}
	if i := slices.IndexFunc(d.Extensions, func(e pbx.Extension) bool { return e.Number == j.SIPExtension }); i >= 0 {
		g.Extension = d.Extensions[i]
		g.Voicemail = false
		d.Extensions = slices.Delete(slices.Clone(d.Extensions), i, i+1)
	}
	return g
}

// transports are how the exchange listens: on the LAN, and everywhere when somebody outside may reach SIP. UDP and
// TCP are always there, for softphones and the gateway.
func transports(c *config.Config) []pbx.Transport {
	at := c.PBX.Address
	friends := c.Firewall.Enabled && len(c.Firewall.Allow) > 0
	if friends || slices.ContainsFunc(c.Firewall.WANAllow, func(s config.Service) bool { return s.Name == "sip" || s.Name == "sips" }) {
		at = netip.IPv4Unspecified()
	}
	plain := netip.AddrPortFrom(at, c.SIPPort())
	out := []pbx.Transport{{Protocol: "udp", Listen: plain}, {Protocol: "tcp", Listen: plain}}
	if c.Provisioning.Transport == config.TransportTLS {
		out = append(out, pbx.Transport{Protocol: "tls", Listen: netip.AddrPortFrom(at, c.PBX.Port)})
	}
	return out
}
