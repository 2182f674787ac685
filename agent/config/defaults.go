package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// httpPort is where /metrics and provisioning are unless http.listen says otherwise.
const httpPort = 9303

// Default returns the configuration of an empty file, before what depends on
// other keys is filled in. It is not valid: it has no LAN.
func Default() *Config {
	return &Config{
		Site: Site{Name: "sae-agent", Timezone: "UTC", Language: "en"},
		WAN:  WAN{Method: WANDHCP},
		DHCP: DHCP{Enabled: true, LeaseTime: 12 * time.Hour},
		Provisioning: Provisioning{
			Root:          "/tftpboot",
			Secrets:       SecretsLease,
			UnknownPhones: UnknownApprove,
			Transport:     TransportUDP,
			Codecs:        []Codec{CodecPCMA, CodecPCMU, CodecG722},
			Resync:        TimeWindow{Start: 2 * 60, End: 4 * 60},
			BLF:           true,
		},
		PBX: PBX{
			// The promise is a PBX on this machine, and FreePBX is what 'sae-agent pbx install' brings.
			Driver:    DriverFreePBX,
			RTPPorts:  PortRange{10100, 19999}, // keeps clear of Jitsi's 10000 and 20000-20050
			Voicemail: "*97",
		},
		Firewall: Firewall{Enabled: true},
		Backup:   Backup{Dir: "/var/backups/sae-agent", Keep: 7, Window: TimeWindow{Start: 60, End: 2 * 60}},
		Stacks: Stacks{
			Jitsi:     Jitsi{HTTPSPort: 8443, MediaPort: 10000, GatewayPorts: PortRange{20000, 20050}, SIPExtension: "1000", AccessNumber: "8000"},
			Nextcloud: Nextcloud{HTTPSPort: 7443},
			Update:    StackUpdate{Window: TimeWindow{Start: 3 * 60, End: 5 * 60}, Policy: UpdatePatch},
		},
		Console: Console{Enabled: true},
		Logs:    Logs{Retention: 7 * 24 * time.Hour, PersonalData: PersonalKeep},
		Alerts:  Alerts{Severity: AlertWarning, Every: 5 * time.Minute, Mail: AlertMail{TLS: MailSTARTTLS}},
	}
}

// setDefaults fills a new entry of a list.
func setDefaults(v reflect.Value) {
	switch e := v.Addr().Interface().(type) {
	case *Extension:
		e.Voicemail = true
	case *Group:
		e.Strategy, e.Timeout = GroupRingAll, 20*time.Second
	}
}

// fill sets the defaults that depend on other keys. Filling twice changes nothing.
func (c *Config) fill() {
	lan := c.LAN.Address.Addr()
	if c.Provisioning.Language == "" {
		c.Provisioning.Language = c.Site.Language
	}
	for i := range c.Extensions {
		if c.Extensions[i].Name == "" {
			c.Extensions[i].Name = c.Extensions[i].Number
		}
	}
	for i := range c.Groups {
		if c.Groups[i].Name == "" {
			c.Groups[i].Name = c.Groups[i].Number
		}
	}
	if c.Stacks.Jitsi.Room == "" {
		c.Stacks.Jitsi.Room = roomOf(c.Site.Name)
	}
	if c.PBX.Port == 0 {
		c.PBX.Port = 5060
		if c.Provisioning.Transport == TransportTLS {
			c.PBX.Port = 5061
		}
	}
	if !lan.IsValid() {
		return
	}
	if c.Provisioning.URL == "" {
		c.Provisioning.URL = fmt.Sprintf("tftp://%s", lan)
	}
	if !c.DHCP.Gateway.IsValid() {
		c.DHCP.Gateway = lan
	}
	if !c.PBX.Address.IsValid() {
		c.PBX.Address = lan
	}
	if c.HTTP.Listen == nil {
		c.HTTP.Listen = []netip.AddrPort{
			netip.AddrPortFrom(lan, httpPort),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), httpPort),
		}
	}
}
