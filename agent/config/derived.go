package config

import (
	"bytes"
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// What several parts derive from the configuration alike.

// SecretName is the name of an extension's generated password.
func SecretName(number string) string { return "extension/" + number }

// SecretFrom returns an extension's password: the file's, else the generated one.
func (e Extension) SecretFrom(generated map[string]string) string {
	return cmp.Or(e.Secret.Reveal(), generated[SecretName(e.Number)])
}

// Extension returns the extension of a number; the zero Extension when there is none.
func (c *Config) Extension(number string) Extension {
	for _, e := range c.Extensions {
		if e.Number == number {
			return e
		}
	}
	return Extension{}
}

// Phone returns the phone with a MAC, which is the zero value for an unknown one.
func (c *Config) Phone(mac net.HardwareAddr) Phone {
	for _, ph := range c.Phones {
		if bytes.Equal(ph.MAC, mac) {
			return ph
		}
	}
	return Phone{}
}

// WANOpen reports whether firewall.wan_allow names a service.
func (c *Config) WANOpen(name string) bool {
	return slices.ContainsFunc(c.Firewall.WANAllow, func(s Service) bool { return s.Name == name })
}

// Local returns a time on the site's clocks.
func (s Site) Local(t time.Time) time.Time {
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		return t.UTC() // checked before
	}
	return t.In(zone)
}

// HTTPSListen are the addresses of http.listen that phones come to with TLS.
func (c *Config) HTTPSListen() (out []netip.AddrPort) {
	u, err := url.Parse(c.Provisioning.URL)
	if err != nil || u.Scheme != "https" {
		return nil
	}
	port := cmp.Or(u.Port(), "443")
	for _, l := range c.HTTP.Listen {
		if strconv.Itoa(int(l.Port())) == port && !l.Addr().IsLoopback() {
			out = append(out, l)
		}
	}
	return out
}

// WebURL is where the LAN finds the HTTP server.
func (c *Config) WebURL() string {
	lan, tls := c.LAN.Address.Addr(), c.HTTPSListen()
	for _, l := range c.HTTP.Listen {
		if l.Addr() != lan && !l.Addr().IsUnspecified() {
			continue
		}
		scheme := "http://"
		if slices.Contains(tls, l) {
			scheme = "https://"
		}
		return scheme + netip.AddrPortFrom(lan, l.Port()).String()
	}
	return "http://" + netip.AddrPortFrom(lan, 9303).String()
}

// TimeServers are the LAN's time servers; one that runs here is the default.
func (c *Config) TimeServers(runsHere bool) []netip.Addr {
	if len(c.DHCP.NTP) > 0 || !runsHere {
		return c.DHCP.NTP
	}
	return []netip.Addr{c.LAN.Address.Addr()}
}

// PhoneNetworks are where phones may be: the LAN, and what is behind its relays.
func (c *Config) PhoneNetworks() []netip.Prefix {
	out := []netip.Prefix{c.LAN.Address.Masked()}
	for _, r := range c.DHCP.Relays {
		if r.Subnet.IsValid() {
			out = append(out, r.Subnet.Masked())
		}
	}
	return out
}
