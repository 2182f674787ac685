package dhcp

import (
	"bytes"
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
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/dhcpd"
)

// yealinkClass is how the vendor class (option 60) of a Yealink phone begins.
const yealinkClass = yealink.VendorClass

// optionVoiceVLAN is Yealink's choice for the voice VLAN, a decimal string.
const optionVoiceVLAN = 132

// Facts are what the answers depend on besides the configuration.
type Facts struct {
	Resolvers  []netip.Addr       // of the WAN
	TimeServer bool               // one runs on this machine
	Approved   []net.HardwareAddr // phones that are not in the file
	UTCOffset  time.Duration      // of the site, now
	POSIXTZ    string             // the site's time zone as POSIX has it, or empty
}

// Desired is what the DHCP server should say.
func Desired(c *config.Config, f Facts) dhcpd.Config {
	d := dhcpd.Config{
		Interface: c.LAN.Interface, ServerID: c.LAN.Address.Addr(), Subnet: c.LAN.Address.Masked(),
		RangeFirst: c.DHCP.Range.First, RangeLast: c.DHCP.Range.Last,
		LeaseTime: c.DHCP.LeaseTime, StrangerLeaseTime: c.DHCP.StrangerLeaseTime,
		Known: slices.Clip(f.Approved), Force: c.DHCP.Force, Peers: c.DHCP.Peers, Disguise: &dhcpd.Disguise{OUI: yealink.OUI(), Class: yealinkClass},
		Options: desiredOptions(c, f),
	}
	for _, p := range c.Phones {
		d.Known = append(append(d.Known, p.MAC), p.Also...)
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
func desiredOptions(c *config.Config, f Facts) []dhcpd.Option {
	lan := c.LAN.Address.Addr()
	gateway := c.DHCP.Gateway
	if !gateway.IsValid() {
		gateway = lan
	}
	options := []dhcpd.Option{
		dhcpd.Addrs(dhcpv4.OptionRouter.Code(), gateway),
		dhcpd.Text(dhcpv4.OptionTFTPServerName.Code(), plainServer(c.Provisioning.URL)),
		dhcpd.Uint32(dhcpv4.OptionTimeOffset.Code(), uint32(int32(f.UTCOffset/time.Second))),
		dhcpd.Text(dhcpv4.OptionReferenceToTZDatabase.Code(), c.Site.Timezone),
	}
	if f.POSIXTZ != "" {
		options = append(options, dhcpd.Text(dhcpv4.OptionIEEE10031TZString.Code(), f.POSIXTZ))
	}
	if dns := firstSet(c.DHCP.DNS, f.Resolvers); len(dns) > 0 {
		options = append(options, dhcpd.Addrs(dhcpv4.OptionDomainNameServer.Code(), dns...))
	}
	if ntp := c.TimeServers(f.TimeServer); len(ntp) > 0 {
		options = append(options, dhcpd.Addrs(dhcpv4.OptionNTPServers.Code(), ntp...))
	}
	if c.DHCP.Domain != "" {
		options = append(options, dhcpd.Text(dhcpv4.OptionDomainName.Code(), c.DHCP.Domain))
	}
	return options
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
