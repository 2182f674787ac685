package agent

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/web"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/netcfg/qos"
)

const siteFile = `
site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp:
  range: 192.168.1.10-192.168.1.100
  voice_vlan: 20
  reservations: [{mac: "02:00:00:00:00:07", ip: 192.168.1.7, hostname: printer}]
  options:
    - {code: 150, ip: [192.168.1.1]}
    - {code: 43, class: Yealink, text: x}
    - {code: 43, class: "yealink T42U", text: special}
    - {code: 66, class: Cisco, text: "192.168.1.9"}
extensions: [{number: "100", name: Alice}, {number: "101", secret: "correct-horse-battery"}]
phones: [{mac: "00:15:65:00:00:01", model: T42U, extension: "100"}]
`

func load(t *testing.T, edit ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("site", []byte(strings.NewReplacer(edit...).Replace(siteFile)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

var (
	compareAddr   = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	comparePort   = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

// show lists options as "code value".
func show(options []dhcpd.Option) map[uint8]string {
	out := make(map[uint8]string)
	for _, o := range options {
		out[o.Code] = string(o.Value)
	}
	return out
}

func TestDesiredQoS(t *testing.T) {
	const rate = "lan: {"
	for _, c := range []struct {
		edit []string
		want qos.Config
	}{
		{nil, qos.Config{Link: "ens33"}},
		{[]string{rate, "qos: {wan_upload: 20mbit}\n" + rate}, qos.Config{Link: "ens33", Rate: 20_000_000}},
		{[]string{"wan: {interface: ens33}", "wan: {method: none}"}, qos.Config{}},
	} {
		if got := desiredQoS(load(t, c.edit...)); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.edit, got, c.want)
		}
	}
}

func TestDesiredDHCP(t *testing.T) {
	approved := net.HardwareAddr{0, 0x15, 0x65, 0, 0, 9}
	d := desiredDHCP(load(t), facts{
		resolvers: addrs("198.51.100.53"), timeServer: true, approved: []net.HardwareAddr{approved}, utcOffset: -time.Hour, posixTZ: "CET-1CEST",
	})
	want := map[uint8]string{
		2: "\xff\xff\xf1\xf0", 3: "\xc0\xa8\x01\x01", 6: "\xc6\x33\x64\x35", 42: "\xc0\xa8\x01\x01", 66: "192.168.1.1", 100: "CET-1CEST",
		101: "Europe/Paris", 150: "\xc0\xa8\x01\x01",
	}
	if diff := cmp.Diff(want, show(d.Options)); diff != "" {
		t.Errorf("options: %s", diff)
	}
	wantClasses := map[string]map[uint8]string{
		"yealink T42U": {43: "special", 66: "tftp://192.168.1.1", 132: "20"},
		"yealink":      {43: "x", 66: "tftp://192.168.1.1", 132: "20"},
		"Cisco":        {66: "192.168.1.9"},
	}
	got := make(map[string]map[uint8]string)
	for i, c := range d.ClassOptions {
		got[c.Class] = show(c.Options)
		if i > 0 && len(c.Class) > len(d.ClassOptions[i-1].Class) {
			t.Errorf("%q comes after a class that begins like it", c.Class)
		}
	}
	if diff := cmp.Diff(wantClasses, got); diff != "" {
		t.Errorf("classes: %s", diff)
	}
	if len(d.Known) != 2 || d.Known[0].String() != approved.String() || len(d.Reservations) != 1 {
		t.Errorf("known %v, reserved %v", d.Known, d.Reservations)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	// What the file says goes before what is found.
	d = desiredDHCP(load(t, "voice_vlan: 20", "dns: [9.9.9.9]\n  ntp: [192.168.1.2]\n  domain: x.example\n  gateway: 192.168.1.254"), facts{resolvers: addrs("198.51.100.53"), timeServer: true})
	for code, want := range map[uint8]string{3: "\xc0\xa8\x01\xfe", 6: "\x09\x09\x09\x09", 15: "x.example", 42: "\xc0\xa8\x01\x02"} {
		if got := show(d.Options)[code]; got != want {
			t.Errorf("option %d: %q, want %q", code, got, want)
		}
	}
}

func TestDesiredNetwork(t *testing.T) {
	lan := netcfg.Link{Name: "ens34", Method: netcfg.MethodStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}
	for name, c := range map[string]struct {
		wan  string
		want netcfg.Link
	}{
		"dhcp":     {"wan: {interface: ens33}", netcfg.Link{Name: "ens33", Method: netcfg.MethodDHCP}},
		"external": {"wan: {interface: ens33, method: external}", netcfg.Link{Name: "ens33", Method: netcfg.MethodExternal}},
		"static": {"wan: {interface: ens33, method: static, address: 198.51.100.2/24, gateway: 198.51.100.1, dns: [9.9.9.9]}", netcfg.Link{
			Name: "ens33", Method: netcfg.MethodStatic, Gateway: netip.MustParseAddr("198.51.100.1"), DNS: addrs("9.9.9.9"),
			Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")},
		}},
		"none": {"wan: {method: none}", netcfg.Link{}},
	} {
		t.Run(name, func(t *testing.T) {
			want := netcfg.Config{WAN: c.want, LAN: lan, Forwarding: name != "none", StateDir: "/state/network"}
			got := desiredNetwork(load(t, "wan: {interface: ens33}", c.wan), "/state")
			if diff := cmp.Diff(want, got, compareAddr, comparePrefix); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDesiredHTTP(t *testing.T) {
	ports := func(list ...string) (out []netip.AddrPort) {
		for _, s := range list {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}
	allow := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	for name, c := range map[string]struct {
		more string
		want web.Config
		url  string
	}{
		"default": {"", web.Config{Listen: ports("192.168.1.1:9303", "127.0.0.1:9303"), Allow: allow}, "http://192.168.1.1:9303"},
		"https": {
			"provisioning: {url: \"https://192.168.1.1/x\"}\nhttp: {listen: [127.0.0.1:443, 192.168.1.1:443, 192.168.1.1:8080]}\n",
			web.Config{Listen: ports("127.0.0.1:443", "192.168.1.1:443", "192.168.1.1:8080"), TLS: ports("192.168.1.1:443"), Allow: allow},
			"https://192.168.1.1:443",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Parse("site", []byte(siteFile+c.more))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, desiredHTTP(cfg), comparePort, comparePrefix); diff != "" {
				t.Error(diff)
			}
			if got := webURL(cfg); got != c.url {
				t.Errorf("URL %s, want %s", got, c.url)
			}
		})
	}
}

func TestDesiredPhones(t *testing.T) {
	p := desiredPhones(load(t), map[string]string{adminSecret: "made-admin", extensionSecret("100"): "made-100"}, facts{timeServer: true})
	want := []yealink.Extension{
		{Number: "100", Name: "Alice", Secret: "made-100", Voicemail: p.Extensions[0].Voicemail},
		{Number: "101", Name: "101", Secret: "correct-horse-battery", Voicemail: p.Extensions[1].Voicemail},
	}
	if diff := cmp.Diff(want, p.Extensions); diff != "" {
		t.Error(diff)
	}
	if p.Site.AdminPassword != "made-admin" || p.Site.Server.String() != "192.168.1.1" || p.Site.Port != 5060 || p.Site.ResyncBegin != "02:00" ||
		p.Site.PhonebookURL != "http://192.168.1.1:9303/phonebook.xml" || len(p.Site.NTP) != 1 || p.Site.Zone.String() != "Europe/Paris" {
		t.Errorf("site: %+v", p.Site)
	}
}

func TestBelowURL(t *testing.T) {
	for _, c := range [][3]string{
		{"tftp://192.168.1.1", "ring.wav", "ring.wav"}, {"tftp://192.168.1.1", "/fw/x.rom", "fw/x.rom"},
		{"http://192.168.1.1:9303/phones/", "phones/ring.wav", "ring.wav"}, {"http://192.168.1.1:9303/phones", "ring.wav", "ring.wav"},
	} {
		if got := belowURL(c[0], c[1]); got != c[2] {
			t.Errorf("%s %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestPlainServer(t *testing.T) {
	for in, want := range map[string]string{
		"tftp://192.168.1.1": "192.168.1.1", "tftp://192.168.1.1/": "192.168.1.1", "tftp://192.168.1.1:6969": "tftp://192.168.1.1:6969",
		"http://192.168.1.1:9303": "http://192.168.1.1:9303", "tftp://192.168.1.1/phones": "tftp://192.168.1.1/phones",
	} {
		if got := plainServer(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// Phones behind a router fetch their files, too.
func TestPhoneNetworks(t *testing.T) {
	lan, voice := netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("192.168.20.0/24")
	c := &config.Config{LAN: config.LAN{Address: netip.MustParsePrefix("192.168.1.1/24")}}
	c.DHCP.Relays = []config.DHCPRelay{{Address: netip.MustParseAddr("192.168.1.50")}, {Address: netip.MustParseAddr("192.168.20.1"), Subnet: voice}}
	if diff := cmp.Diff([]netip.Prefix{lan, voice}, phoneNetworks(c), comparePrefix); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(desiredTFTP(c).Allow, desiredHTTP(c).Allow, comparePrefix); diff != "" {
		t.Error(diff)
	}
}
