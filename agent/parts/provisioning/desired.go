package provisioning

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/sipwatch"
	"github.com/sae-agent/sae-agent/tftpd"
)

// adminSecret is the generated password of the phones' own pages.
const adminSecret = "phones/admin"

// Facts are what the phones' files depend on besides the configuration.
type Facts struct {
	TimeServer bool              // one runs on this machine
	InExchange map[string]string // secrets that the exchange has, by extension; nil: not known
}

// Desired is what phones should be told. Secrets are those that the
// configuration leaves out, by name.
func Desired(c *config.Config, secrets map[string]string, f Facts) phones.Config {
	p := phones.Config{
		Site: site(c, f), ModelExtra: make(map[string]map[string]string),
		Once: c.Provisioning.Secrets == config.SecretsOnce, Unknown: phones.Policy(c.Provisioning.UnknownPhones),
		AutoUntil: c.Provisioning.Until, AutoFirst: c.Provisioning.ExtensionRange.First, AutoLast: c.Provisioning.ExtensionRange.Last,
		SoftphoneURL: c.WebURL() + "/softphone/", Via: c.Provisioning.Via, NoLeases: !c.DHCP.Enabled,
	}
	p.Site.AdminPassword = cmp.Or(c.Provisioning.AdminPassword.Reveal(), secrets[adminSecret])
	for _, e := range c.Extensions {
		p.Extensions = append(p.Extensions, yealink.Account{
			Number: e.Number, Name: e.Name, Secret: cmp.Or(f.InExchange[e.Number], e.SecretFrom(secrets)), Voicemail: e.Voicemail,
		})
	}
	for _, ph := range c.Phones {
		keys := make([]yealink.Key, 0, len(ph.Keys))
		for _, k := range ph.Keys {
			keys = append(keys, yealink.Key{Type: yealink.KeyType(k.Type), Value: k.Value, Label: k.Label})
		}
		p.Phones = append(p.Phones, phones.Phone{MAC: ph.MAC, Also: ph.Also, Model: ph.Model, Extension: ph.Extension, Keys: keys, Extra: ph.Extra})
	}
	for name, m := range c.Provisioning.Models {
		p.ModelExtra[name] = m.Extra
	}
	return p
}

func site(c *config.Config, f Facts) yealink.Site {
	zone, err := time.LoadLocation(c.Site.Timezone)
	if err != nil {
		zone = time.UTC // checked by config
	}
	s := yealink.Site{
		Server: c.PBX.Address, Port: c.PBX.Port, Transport: string(c.Provisioning.Transport), Voicemail: c.PBX.Voicemail,
		Language: string(c.Provisioning.Language), Zone: zone, NTP: c.TimeServers(f.TimeServer), ProvisioningURL: c.Provisioning.URL,
		PhonebookURL: c.WebURL() + "/phonebook.xml", PhonebookName: c.Site.Name, VoiceVLAN: c.DHCP.VoiceVLAN, BLF: c.Provisioning.BLF,
	}
	for _, codec := range c.Provisioning.Codecs {
		s.Codecs = append(s.Codecs, string(codec))
	}
	if w := c.Provisioning.Resync; !w.Off {
		s.ResyncBegin, s.ResyncEnd = w.Start.String(), w.End.String()
	}
	return s
}

// desiredTFTP is where files are served.
func desiredTFTP(c *config.Config) tftpd.Config {
	return tftpd.Config{
		Listen:    netip.AddrPortFrom(c.LAN.Address.Addr(), 69),
		Interface: c.LAN.Interface,
		Allow:     c.PhoneNetworks(),
	}
}

// desiredSIP is where registrations pass by.
func desiredSIP(c *config.Config) sipwatch.Config {
	return sipwatch.Config{Interface: c.LAN.Interface, Server: netip.AddrPortFrom(c.PBX.Address, c.PBX.Port)}
}
