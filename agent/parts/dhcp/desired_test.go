package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/dhcpd"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// show lists options as "code value".
func show(options []dhcpd.Option) map[uint8]string {
	out := make(map[uint8]string)
	for _, o := range options {
		out[o.Code] = string(o.Value)
	}
	return out
}

func TestDesiredDHCP(t *testing.T) {
	approved := net.HardwareAddr{0, 0x15, 0x65, 0, 0, 9}
	d := Desired(parttest.Config(t), Facts{
		Resolvers: addrs("198.51.100.53"), TimeServer: true, Approved: []net.HardwareAddr{approved}, UTCOffset: -time.Hour, POSIXTZ: "CET-1CEST",
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
	d = Desired(parttest.Config(t, "voice_vlan: 20", "dns: [9.9.9.9]\n  ntp: [192.168.1.2]\n  domain: x.example\n  gateway: 192.168.1.254"), Facts{Resolvers: addrs("198.51.100.53"), TimeServer: true})
	for code, want := range map[uint8]string{3: "\xc0\xa8\x01\xfe", 6: "\x09\x09\x09\x09", 15: "x.example", 42: "\xc0\xa8\x01\x02"} {
		if got := show(d.Options)[code]; got != want {
			t.Errorf("option %d: %q, want %q", code, got, want)
		}
	}
}

// What the file says of other servers, relays, and second MACs of phones reaches the server.
func TestDesiredNeighbours(t *testing.T) {
	c := parttest.Config(t, "  voice_vlan: 20", `  force: true
  peers: [192.168.1.2]
  relays: [{address: 192.168.1.3}, {address: 10.20.0.1, subnet: 10.20.0.0/24, range: 10.20.0.100-10.20.0.200}]`,
		`extension: "100"}]`, `extension: "100", also: ["80:5e:c0:00:00:01"]}]`)
	d := Desired(c, Facts{})
	want := []dhcpd.Relay{{Addr: addrs("192.168.1.3")[0]}, {
		Addr: addrs("10.20.0.1")[0], Subnet: netip.MustParsePrefix("10.20.0.0/24"), RangeFirst: addrs("10.20.0.100")[0], RangeLast: addrs("10.20.0.200")[0],
	}}
	if !slices.Equal(d.Relays, want) || !slices.Equal(d.Peers, addrs("192.168.1.2")) || !d.Force {
		t.Errorf("relays %v, peers %v, force %v", d.Relays, d.Peers, d.Force)
	}
	if got := fmt.Sprint(d.Known); got != "[00:15:65:00:00:01 80:5e:c0:00:00:01]" {
		t.Errorf("known: %s", got)
	}
	if d.Disguise == nil || d.Disguise.Class != "yealink" || d.Disguise.OUI != [3]byte{0x00, 0x15, 0x65} {
		t.Errorf("the search looks like %+v", d.Disguise)
	}
}

// What others on the LAN do is shown in the words that the server has for it, as bad as it is.
func TestProblems(t *testing.T) {
	rival := []string{"192.168.1.9 (02:00:00:00:00:09, at port 01020007)"}
	for name, c := range map[string]struct {
		st       control.DHCPStatus
		id       problem.ID
		severity problem.Severity
		what     string
	}{
		"serving":            {control.DHCPStatus{Serving: true}, "", "", ""},
		"beside an intruder": {control.DHCPStatus{Serving: true, Rivals: rival}, problem.DHCPRival, problem.Error, rival[0]},
		"a newcomer":         {control.DHCPStatus{Rivals: rival, Reason: "another DHCP server answers"}, problem.DHCPNotServing, problem.Error, "another DHCP server answers"},
		"searching at first": {control.DHCPStatus{Starting: true}, "", "", ""},
		"one that is silent": {control.DHCPStatus{Serving: true, Foreign: []string{"192.168.1.77 (chosen by x)"}}, problem.DHCPForeign, problem.Warning, "192.168.1.77"},
		"a stray relay":      {control.DHCPStatus{Serving: true, Relays: []string{"192.168.1.8 (x)"}}, problem.DHCPRelayUnknown, problem.Warning, "192.168.1.8"},
		"nearly full":        {control.DHCPStatus{Serving: true, PoolSize: 100, PoolUsed: 95}, problem.DHCPPoolFull, problem.Warning, "95 of 100"},
	} {
		t.Run(name, func(t *testing.T) {
			got := problems(true, c.st)
			if c.id == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || got[0].ID != c.id || got[0].Severity != c.severity || !strings.Contains(got[0].What, c.what) || got[0].Fix == "" && c.id != problem.DHCPNotServing {
				t.Errorf("%+v", got)
			}
		})
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

// What the server should say is worked out at each change: a phone must not cost a copy of all before it.
func TestWorkOfDesired(t *testing.T) {
	c := parttest.Config(t)
	for n := range 5000 {
		c.Phones = append(c.Phones, config.Phone{MAC: net.HardwareAddr{0, 0x15, 0x65, 1, byte(n >> 8), byte(n)}})
	}
	if allocs := testing.AllocsPerRun(3, func() { Desired(c, Facts{}) }); allocs > 200 {
		t.Errorf("%v allocations for 5,000 phones", allocs)
	}
}
