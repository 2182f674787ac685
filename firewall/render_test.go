package firewall

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/internal/golden"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// lanServices are what every appliance offers to its LAN.
func lanOnly() []Service {
	return []Service{
		{Name: "SSH", Protocol: "tcp", First: 22, Last: 22, LAN: true},
		{Name: "DHCP", Protocol: "udp", First: 67, Last: 67, LAN: true, LANOnly: true},
		{Name: "TFTP", Protocol: "udp", First: 69, Last: 69, LAN: true, LANOnly: true},
		{Name: "NTP", Protocol: "udp", First: 123, Last: 123, LAN: true},
		{Name: "provisioning", Protocol: "tcp", First: 9303, Last: 9303, LAN: true, LANOnly: true},
	}
}

// office has a PBX and containers, and lets the Internet use SIP and a published page.
func office() Config {
	s := lanOnly()
	s[0].WAN = true
	return Config{
		WAN: "ens33", LAN: "ens34", LANNets: prefixes("192.168.1.0/24"), Containers: []string{"docker0", "br-*"}, Trusted: []string{"wg*"},
		Services: append(s,
			Service{Name: "SIP", Protocol: "udp", First: 5060, Last: 5060, LAN: true, WAN: true, Containers: true, Allowed: true, SIP: true},
			Service{Name: "SIP", Protocol: "tcp", First: 5060, Last: 5060, LAN: true, WAN: true, Containers: true, Allowed: true, SIP: true},
			Service{Name: "voice", Protocol: "udp", First: 10100, Last: 19999, LAN: true, WAN: true, Containers: true, Allowed: true},
			Service{Name: "files", Protocol: "tcp", First: 7443, Last: 7443, LAN: true, WAN: true, Containers: true, Published: true},
			Service{Name: "meetings", Protocol: "tcp", First: 8443, Last: 8443, LAN: true, Containers: true, Published: true},
		),
		Allow:  prefixes("203.0.113.0/24", "203.0.113.7/32", "2001:db8:1::/48"),
		Shield: DefaultShield(),
		Marks: []Mark{
			{Name: "SIP", Protocol: "udp", First: 5060, Last: 5060, DSCP: 24}, {Name: "voice", Protocol: "udp", First: 10100, Last: 19999, DSCP: 46},
		},
	}
}

var configs = map[string]Config{
	"least":  {LAN: "ens34"},
	"closed": {WAN: "ens33", LAN: "ens34", LANNets: prefixes("192.168.1.0/24"), Services: lanOnly()},
	"office": office(),
}

func TestRender(t *testing.T) {
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			got := Render(c)
			path := filepath.Join("testdata", name+".nft")
			golden.Equal(t, path, got)
			check := exec.Command("nft", "--check", "--file", "-")
			check.Stdin = strings.NewReader(got)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("nft refuses it: %v\n%s", err, out)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]Config{
		"no LAN":     {},
		"same card":  {LAN: "ens33", WAN: "ens33"},
		"link":       {LAN: `a" accept`},
		"pattern":    {LAN: "ens34", Containers: []string{"*"}},
		"name":       {LAN: "ens34", Services: []Service{{Name: "x\"y", Protocol: "tcp", First: 1, Last: 1}}},
		"protocol":   {LAN: "ens34", Services: []Service{{Name: "x", Protocol: "sctp", First: 1, Last: 1}}},
		"ports":      {LAN: "ens34", Services: []Service{{Name: "x", Protocol: "tcp", First: 2, Last: 1}}},
		"dscp":       {LAN: "ens34", Marks: []Mark{{Name: "x", Protocol: "udp", First: 1, Last: 1, DSCP: 64}}},
		"network":    {LAN: "ens34", Allow: []netip.Prefix{{}}},
		"shieldless": {LAN: "ens34", Services: []Service{{Name: "x", Protocol: "udp", First: 1, Last: 1, SIP: true}}},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
