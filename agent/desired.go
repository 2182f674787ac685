package agent

import (
	"bytes"
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/agent/sipwatch"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/tftpd"
)

// yealinkClass is how the vendor class (option 60) of a Yealink phone begins.
const yealinkClass = yealink.VendorClass

// optionVoiceVLAN is Yealink's choice for the voice VLAN, a decimal string.
const optionVoiceVLAN = 132

// facts are what the desired state depends on besides the configuration.
type facts struct {
	resolvers        []netip.Addr       // of the WAN
	timeServer       bool               // one runs on this machine
	approved         []net.HardwareAddr // phones that are not in the file
	utcOffset        time.Duration      // of the site, now
	posixTZ          string             // the site's time zone as POSIX has it, or empty
	testAccounts     []pbx.Extension    // of verify, while it runs
	inExchange       map[string]string  // secrets that the exchange has, by extension; nil: not known
	onProbation      bool               // what runs waits for its confirmation
	certificate, key string             // in PEM, where the exchange needs them
}

// desiredNetwork is what the cards should be.
func desiredNetwork(c *config.Config, stateDir string) netcfg.Config {
	n := netcfg.Config{
		LAN: netcfg.Link{
			Name: c.LAN.Interface, Method: netcfg.MethodStatic, MTU: c.LAN.MTU, Addresses: []netip.Prefix{c.LAN.Address},
		},
		StateDir: filepath.Join(stateDir, "network"),
	}
	w := netcfg.Link{Name: c.WAN.Interface, MTU: c.WAN.MTU, DNS: c.WAN.DNS}
	switch c.WAN.Method {
	case config.WANDHCP:
		w.Method = netcfg.MethodDHCP
	case config.WANStatic:
		w.Method, w.Addresses, w.Gateway = netcfg.MethodStatic, []netip.Prefix{c.WAN.Address}, c.WAN.Gateway
	case config.WANExternal:
		w.Method = netcfg.MethodExternal
	case config.WANNone:
		return n
	}
	n.WAN, n.Forwarding = w, true
	return n
}

// desiredDHCP is what the DHCP server should say.
func desiredDHCP(c *config.Config, f facts) dhcpd.Config {
	d := dhcpd.Config{
		Interface: c.LAN.Interface, ServerID: c.LAN.Address.Addr(), Subnet: c.LAN.Address.Masked(),
		RangeFirst: c.DHCP.Range.First, RangeLast: c.DHCP.Range.Last,
		LeaseTime: c.DHCP.LeaseTime, StrangerLeaseTime: c.DHCP.StrangerLeaseTime,
		Known: f.approved, Force: c.DHCP.Force, Peers: c.DHCP.Peers, Disguise: &dhcpd.Disguise{OUI: yealink.OUI(), Class: yealinkClass},
		Options: desiredOptions(c, f),
	}
	for _, p := range c.Phones {
		d.Known = append(append(d.Known[:len(d.Known):len(d.Known)], p.MAC), p.Also...)
	}
	for _, r := range c.DHCP.Reservations {
		d.Reservations = append(d.Reservations, dhcpd.Reservation{MAC: r.MAC, Addr: r.IP, Hostname: r.Hostname})
	}
	for _, r := range c.DHCP.Relays {
		d.Relays = append(d.Relays, dhcpd.Relay{Addr: r.Address, Subnet: r.Subnet, RangeFirst: r.Range.First, RangeLast: r.Range.Last})
	}
	phones := []dhcpd.Option{dhcpd.Text(dhcpv4.OptionTFTPServerName.Code(), c.Provisioning.URL)}
	if c.DHCP.VoiceVLAN != 0 {
		phones = append(phones, dhcpd.Text(optionVoiceVLAN, strconv.Itoa(int(c.DHCP.VoiceVLAN))))
	}
	classes := []dhcpd.ClassOptions{{Class: yealinkClass, Options: phones}}
	for _, o := range c.DHCP.Options {
		option := dhcpd.Option{Code: o.Code, Value: o.Bytes()}
		switch {
		case o.Class == "":
			d.Options = append(d.Options, option)
		case strings.EqualFold(o.Class, yealinkClass):
			classes[0].Options = append(classes[0].Options, option)
		default:
			classes = addClassOption(classes, o.Class, option)
		}
	}
	d.ClassOptions = mostSpecificFirst(classes)
	return d
}

// desiredOptions are the options for every client.
func desiredOptions(c *config.Config, f facts) []dhcpd.Option {
	lan := c.LAN.Address.Addr()
	gateway := c.DHCP.Gateway
	if !gateway.IsValid() {
		gateway = lan
	}
	options := []dhcpd.Option{
		dhcpd.Addrs(dhcpv4.OptionRouter.Code(), gateway),
		dhcpd.Text(dhcpv4.OptionTFTPServerName.Code(), plainServer(c.Provisioning.URL)),
		dhcpd.Uint32(dhcpv4.OptionTimeOffset.Code(), uint32(int32(f.utcOffset/time.Second))),
		dhcpd.Text(dhcpv4.OptionReferenceToTZDatabase.Code(), c.Site.Timezone),
	}
	if f.posixTZ != "" {
		options = append(options, dhcpd.Text(dhcpv4.OptionIEEE10031TZString.Code(), f.posixTZ))
	}
	if dns := firstSet(c.DHCP.DNS, f.resolvers); len(dns) > 0 {
		options = append(options, dhcpd.Addrs(dhcpv4.OptionDomainNameServer.Code(), dns...))
	}
	if ntp := desiredNTP(c, f); len(ntp) > 0 {
		options = append(options, dhcpd.Addrs(dhcpv4.OptionNTPServers.Code(), ntp...))
	}
	if c.DHCP.Domain != "" {
		options = append(options, dhcpd.Text(dhcpv4.OptionDomainName.Code(), c.DHCP.Domain))
	}
	return options
}

// desiredNTP are the LAN's time servers.
func desiredNTP(c *config.Config, f facts) []netip.Addr {
	if len(c.DHCP.NTP) > 0 || !f.timeServer {
		return c.DHCP.NTP
	}
	return []netip.Addr{c.LAN.Address.Addr()}
}

func firstSet(lists ...[]netip.Addr) []netip.Addr {
	for _, l := range lists {
		if len(l) > 0 {
			return l
		}
	}
	return nil
}

// plainServer is option 66 for devices that are not known to take a URL: RFC 2132
// has the name of a TFTP server there.
func plainServer(provisioning string) string {
	if u, err := url.Parse(provisioning); err == nil && u.Scheme == "tftp" && u.Port() == "" && strings.Trim(u.Path, "/") == "" {
		return u.Hostname()
	}
	return provisioning
}

func addClassOption(classes []dhcpd.ClassOptions, class string, o dhcpd.Option) []dhcpd.ClassOptions {
	for i := range classes {
		if strings.EqualFold(classes[i].Class, class) {
			classes[i].Options = append(classes[i].Options, o)
			return classes
		}
	}
	return append(classes, dhcpd.ClassOptions{Class: class, Options: []dhcpd.Option{o}})
}

// mostSpecificFirst has the options of a class such as "yealink T42U" apply to
// it, on top of those of "yealink".
func mostSpecificFirst(classes []dhcpd.ClassOptions) []dhcpd.ClassOptions {
	out := make([]dhcpd.ClassOptions, 0, len(classes))
	for _, c := range classes {
		var inherited []dhcpd.Option
		for _, other := range classes {
			if len(other.Class) < len(c.Class) && strings.EqualFold(c.Class[:len(other.Class)], other.Class) {
				inherited = append(inherited, other.Options...)
			}
		}
		c.Options = append(inherited, c.Options...)
		at := 0
		for at < len(out) && len(out[at].Class) >= len(c.Class) {
			at++
		}
		out = append(out[:at], append([]dhcpd.ClassOptions{c}, out[at:]...)...)
	}
	return out
}

// Names of generated passwords.
const adminSecret = "phones/admin"

func extensionSecret(number string) string { return "extension/" + number }

// desiredPhones is what phones should be told. Secrets are those that the
// configuration leaves out, by name.
func desiredPhones(c *config.Config, secrets map[string]string, f facts) phones.Config {
	p := phones.Config{
		Site: desiredSite(c, f), ModelExtra: make(map[string]map[string]string),
		Once: c.Provisioning.Secrets == config.SecretsOnce, Unknown: phones.Policy(c.Provisioning.UnknownPhones),
		AutoUntil: c.Provisioning.Until, AutoFirst: c.Provisioning.ExtensionRange.First, AutoLast: c.Provisioning.ExtensionRange.Last,
		SoftphoneURL: webURL(c) + "/softphone/", Via: c.Provisioning.Via, NoLeases: !c.DHCP.Enabled,
	}
	p.Site.AdminPassword = cmp.Or(c.Provisioning.AdminPassword.Reveal(), secrets[adminSecret])
	for _, e := range c.Extensions {
		p.Extensions = append(p.Extensions, yealink.Extension{
			Number: e.Number, Name: e.Name, Secret: cmp.Or(f.inExchange[e.Number], secretOf(e, secrets)), Voicemail: e.Voicemail,
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

func desiredSite(c *config.Config, f facts) yealink.Site {
	zone, err := time.LoadLocation(c.Site.Timezone)
	if err != nil {
		zone = time.UTC // checked by config
	}
	s := yealink.Site{
		Server: c.PBX.Address, Port: c.PBX.Port, Transport: string(c.Provisioning.Transport), Voicemail: c.PBX.Voicemail,
		Language: c.Provisioning.Language, Zone: zone, NTP: desiredNTP(c, f), ProvisioningURL: c.Provisioning.URL,
		PhonebookURL: webURL(c) + "/phonebook.xml", PhonebookName: c.Site.Name, VoiceVLAN: c.DHCP.VoiceVLAN, BLF: c.Provisioning.BLF,
	}
	for _, codec := range c.Provisioning.Codecs {
		s.Codecs = append(s.Codecs, string(codec))
	}
	if w := c.Provisioning.Resync; !w.Off {
		s.ResyncBegin, s.ResyncEnd = w.Start.String(), w.End.String()
	}
	return s
}

// webURL is where the LAN finds our HTTP server.
func webURL(c *config.Config) string {
	lan := c.LAN.Address.Addr()
	tls := desiredHTTP(c).TLS
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

// desiredTFTP is where files are served.
func desiredTFTP(c *config.Config) tftpd.Config {
	return tftpd.Config{
		Listen:    netip.AddrPortFrom(c.LAN.Address.Addr(), 69),
		Interface: c.LAN.Interface,
		Allow:     phoneNetworks(c),
	}
}

// phoneNetworks are where phones may be: the LAN, and what is behind its relays.
func phoneNetworks(c *config.Config) []netip.Prefix {
	out := []netip.Prefix{c.LAN.Address.Masked()}
	for _, r := range c.DHCP.Relays {
		if r.Subnet.IsValid() {
			out = append(out, r.Subnet.Masked())
		}
	}
	return out
}

// desiredHTTP is where metrics, files and the rest are served.
func desiredHTTP(c *config.Config) web.Config {
	out := web.Config{
		Listen: c.HTTP.Listen, Allow: phoneNetworks(c), WithoutMetrics: len(c.HTTP.Metrics.Listen) > 0,
	}
	u, err := url.Parse(c.Provisioning.URL)
	if err != nil || u.Scheme != "https" {
		return out
	}
	port := cmp.Or(u.Port(), "443")
	for _, l := range c.HTTP.Listen { // phones come to this port with TLS
		if strconv.Itoa(int(l.Port())) == port && !l.Addr().IsLoopback() {
			out.TLS = append(out.TLS, l)
		}
	}
	return out
}

// desiredMetrics is where /metrics has a server of its own.
func desiredMetrics(c *config.Config) web.ExporterConfig {
	return web.ExporterConfig{
		Listen: c.HTTP.Metrics.Listen, Allow: []netip.Prefix{c.LAN.Address.Masked()}, WebConfig: c.HTTP.Metrics.WebConfig,
	}
}

// desiredSIP is where registrations pass by.
func desiredSIP(c *config.Config) sipwatch.Config {
	return sipwatch.Config{Interface: c.LAN.Interface, Server: netip.AddrPortFrom(c.PBX.Address, c.PBX.Port)}
}

// zoneOf reads what the DHCP options say of the site's time zone: how far it is
// from UTC now, and its rules as POSIX has them, which end every file of the zone
// database (RFC 8536 section 3.3).
func zoneOf(timezone string, now time.Time) (offset time.Duration, posix string) {
	loc, err := time.LoadLocation(timezone)
	if err != nil {
		return 0, ""
	}
	_, seconds := now.In(loc).Zone()
	offset = time.Duration(seconds) * time.Second
	data, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", filepath.FromSlash(timezone)))
	if err != nil {
		return offset, "" // a minimal system has none; the other two options say enough
	}
	lines := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	return offset, string(lines[len(lines)-1])
}
