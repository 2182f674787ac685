package stacks

import (
	"cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/jitsi"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/nextcloud"
)

// Names of the stacks' generated passwords.
const (
	jicofoSecret      = "stacks/jitsi/jicofo"
	jvbSecret         = "stacks/jitsi/jvb"
	jigasiSecret      = "stacks/jitsi/jigasi"
	cloudAdminSecret  = "stacks/nextcloud/admin"
	cloudDBSecret     = "stacks/nextcloud/database"
	cloudDBRootSecret = "stacks/nextcloud/database-root"
)

func cloudUserSecret(number string) string { return "stacks/nextcloud/user/" + number }

// SecretNames implements part.SecretNamer.
func (p *Part) SecretNames(c *config.Config) (names []string) {
	if j := c.Stacks.Jitsi; j.Enabled {
		names = append(names, jicofoSecret, jvbSecret, jigasiSecret, config.SecretName(j.SIPExtension))
	}
	n := c.Stacks.Nextcloud
	if !n.Enabled {
		return names
	}
	names = append(names, cloudAdminSecret, cloudDBSecret, cloudDBRootSecret)
	if n.Users {
		for _, e := range c.Extensions {
			names = append(names, cloudUserSecret(e.Number))
		}
	}
	return names
}

// Desired is what the stacks should be. The pages' certificate and key are in
// PEM, names are those that the pages may be asked for by.
func Desired(c *config.Config, secrets map[string]string, names []string, certificate, key []byte) stacks.Config {
	u := c.Stacks.Update
	out := stacks.Config{
		Site:     kind.Site{Addr: c.LAN.Address.Addr(), Names: names, Timezone: c.Site.Timezone, Certificate: certificate, Key: key},
		Registry: c.Stacks.Registry,
		Update:   stacks.UpdateConfig{Policy: stacks.Policy(u.Policy), Off: u.Window.Off, Start: int(u.Window.Start), End: int(u.Window.End)},
	}
	if j := c.Stacks.Jitsi; j.Enabled {
		out.Kinds = append(out.Kinds, jitsi.Config{
			HTTPSPort: j.HTTPSPort, MediaPort: j.MediaPort, GatewayFirst: j.GatewayPorts.First, GatewayLast: j.GatewayPorts.Last,
			Gateway:   jitsi.Gateway{Extension: j.SIPExtension, AccessNumber: j.AccessNumber, Room: j.Room, Header: RoomHeader},
			SIPServer: c.PBX.Address.String(), SIPPort: c.SIPPort(), SIPTransport: "udp",
			SIPSecret:    cmp.Or(c.Extension(j.SIPExtension).Secret.Reveal(), secrets[config.SecretName(j.SIPExtension)]),
			JicofoSecret: secrets[jicofoSecret], JVBSecret: secrets[jvbSecret], JigasiSecret: secrets[jigasiSecret],
		})
	}
	if n := c.Stacks.Nextcloud; n.Enabled {
		cloud := nextcloud.Config{
			HTTPSPort: n.HTTPSPort, AdminSecret: secrets[cloudAdminSecret], DBSecret: secrets[cloudDBSecret], DBRootSecret: secrets[cloudDBRootSecret],
		}
		if n.Users {
			for _, e := range c.Extensions {
				cloud.Users = append(cloud.Users, kind.User{Name: e.Number, DisplayName: e.Name, Password: secrets[cloudUserSecret(e.Number)]})
			}
		}
		out.Kinds = append(out.Kinds, cloud)
	}
	return out
}
