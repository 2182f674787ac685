package firewall

import (
	"net/netip"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/internal/golden"
)

// firewallSites are edits of the site's file.
var firewallSites = map[string][]string{
	"phones": nil,
	"open": {"extensions:", `firewall:
  wan_allow: [ssh, sip, rtp, jitsi, 8080/tcp]
  allow: [203.0.113.0/24, "2001:db8::/48", office.example]
  trusted: [wg0]
  lan_allow: [9090/tcp]
console: {allow: [198.51.100.0/24]}
http: {metrics: {listen: [192.168.1.1:9304]}}
stacks: {jitsi: {enabled: true}, nextcloud: {enabled: true}}
extensions:`},
	"no-wan": {"wan: {interface: ens33}", "wan: {method: none}\npbx: {driver: none}"},
}

func firewallSite(t *testing.T, name string, f Facts) firewall.Config {
	t.Helper()
	return Desired(parttest.Config(t, firewallSites[name]...), f, "/state")
}

func TestDesiredFirewall(t *testing.T) {
	for name := range firewallSites {
		c := firewallSite(t, name, Facts{SSHPorts: []uint16{22, 2222}})
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, path := firewall.Render(c), "testdata/firewall-"+name+".nft"
		golden.Equal(t, path, got)
	}
}

func TestFirewallIsOff(t *testing.T) {
	for name, c := range map[string]firewall.Config{
		"by the file":     Desired(parttest.Config(t, "extensions:", "firewall: {enabled: false}\nextensions:"), Facts{}, "/state"),
		"by another's":    firewallSite(t, "phones", Facts{Others: Others{Sangoma: true}}),
		"and is so plain": {Disabled: true},
	} {
		if !c.Disabled {
			t.Errorf("%s: it is on", name)
		}
	}
	if c := firewallSite(t, "phones", Facts{Tentative: true}); c.Disabled || !c.Tentative {
		t.Errorf("a trial: %+v", c)
	}
}

// What an operator asks with 'sae-agent firewall test'.
func TestPacketOf(t *testing.T) {
	c := firewallSite(t, "open", Facts{SSHPorts: []uint16{22}})
	for _, test := range []struct {
		question control.FirewallQuestion
		accept   bool
		why      string
	}{
		{control.FirewallQuestion{From: "wan", Protocol: "tcp", Port: 22}, true, "SSH"},
		{control.FirewallQuestion{From: "wan", Protocol: "udp", Port: 69}, false, "TFTP: LAN only"},
		{control.FirewallQuestion{From: "lan", Protocol: "udp", Port: 69}, true, "TFTP"},
		{control.FirewallQuestion{From: "192.168.1.20", Protocol: "tcp", Port: 3306}, false, "closed to the LAN"},
		{control.FirewallQuestion{From: "192.168.1.20", Protocol: "tcp", Port: 9090}, true, "lan_allow 9090/tcp"},
		{control.FirewallQuestion{From: "192.168.1.20", Protocol: "tcp", Port: 9304}, true, string(config.UseMetrics)},
		{control.FirewallQuestion{From: "wan", Protocol: "tcp", Port: 9090}, false, "closed to the Internet"},
		{control.FirewallQuestion{From: "203.0.113.9", Protocol: "tcp", Port: 7443}, false, "closed to the Internet"},
		{control.FirewallQuestion{From: "wan", Protocol: "tcp", Port: 8443}, true, "published ports that the guard let pass"},
		{control.FirewallQuestion{From: "wan", Protocol: "tcp", Port: 8080}, true, "published ports that the guard let pass"},
		{control.FirewallQuestion{From: "wan", To: "lan", Protocol: "tcp", Port: 80}, false, "from the Internet to the LAN or to containers"},
		{control.FirewallQuestion{From: "lan", To: "wan", Protocol: "tcp", Port: 80}, true, "the LAN may reach the Internet"},
		{control.FirewallQuestion{From: "docker", Protocol: "udp", Port: 5060}, true, "SIP"},
		{control.FirewallQuestion{From: "docker", Protocol: "tcp", Port: 22}, false, "closed to containers"},
		{control.FirewallQuestion{From: "trusted", Protocol: "tcp", Port: 3306}, true, "trusted links"},
		{control.FirewallQuestion{From: "wan", Protocol: "icmp"}, true, "ping, path MTU"},
	} {
		p, err := packetOf(c, test.question)
		if err != nil {
			t.Errorf("%+v: %v", test.question, err)
			continue
		}
		if d := firewall.Decide(c, p); d.Accept != test.accept || d.Why != test.why {
			t.Errorf("%+v: %+v, want %v %q", test.question, d, test.accept, test.why)
		}
	}
	for _, q := range []control.FirewallQuestion{
		{From: "x", Protocol: "tcp", Port: 1}, {From: "wan", Protocol: "sctp", Port: 1}, {From: "wan", Protocol: "tcp"},
		{From: "wan", Protocol: "icmp", Port: 1}, {From: "wan", To: "moon", Protocol: "tcp", Port: 1},
	} {
		if _, err := packetOf(c, q); err == nil {
			t.Errorf("%+v: understood", q)
		}
	}
}

func TestContainerLinks(t *testing.T) {
	for name, want := range map[string]bool{"docker0": true, "br-0a1b": true, "docker1": false, "br": false, "ens33": false} {
		if got := isContainerLink(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOutsiders(t *testing.T) {
	c := firewallSite(t, "phones", Facts{})
	wan, lan := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("192.168.1.7")
	if got := outsiders(c, []netip.Addr{lan, wan, netip.MustParseAddr("127.0.0.1")}); len(got) != 1 || got[0] != wan {
		t.Errorf("%v, want %v", got, wan)
	}
}

// Phones are known by where the exchange sees them.
