package firewall

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// zoneRow is a row of the table "from zone X to port Y", for both families.
type zoneRow struct {
	from   string // wan, friend, lan, docker
	to     string // appliance: the address that the sender sees; lan, wan, box: hosts there
	ports  []int
	proto  string
	accept bool
}

// zoneTable is what the configuration "office" promises.
var zoneTable = []zoneRow{
	{"wan", "appliance", []int{22, 5060, 7443}, "tcp", true},
	{"wan", "appliance", []int{21, 23, 25, 53, 80, 443, 3306, 5038, 8443, 9303, 40000}, "tcp", false},
	{"wan", "appliance", []int{5060, 10100, 19999}, "udp", true},
	{"wan", "appliance", []int{53, 67, 69, 123, 161, 5061, 10000, 20000, 40000}, "udp", false},
	{"wan", "lan", []int{22, 80}, "tcp", false},
	{"wan", "box", []int{22, 80, 7443}, "tcp", false},
	{"friend", "appliance", []int{22, 5060}, "tcp", true},
	{"friend", "appliance", []int{9303, 8443, 80}, "tcp", false},
	{"friend", "appliance", []int{69, 67}, "udp", false},
	{"lan", "appliance", []int{22, 5060, 7443, 8443, 9303}, "tcp", true},
	{"lan", "appliance", []int{21, 25, 3306, 5038, 8080}, "tcp", false},
	{"lan", "appliance", []int{67, 69, 123, 5060, 15000}, "udp", true},
	{"lan", "appliance", []int{161, 4500, 40000}, "udp", false},
	{"lan", "wan", []int{22, 80, 5060}, "tcp", true},
	{"lan", "wan", []int{53, 40000}, "udp", true},
	{"lan", "box", []int{22, 7443}, "tcp", false},
	{"docker", "appliance", []int{5060, 7443, 8443}, "tcp", true},
	{"docker", "appliance", []int{22, 3306, 9303}, "tcp", false},
	{"docker", "appliance", []int{5060, 15000}, "udp", true},
	{"docker", "appliance", []int{67, 69, 123}, "udp", false},
	{"docker", "wan", []int{443}, "tcp", true},
	{"docker", "lan", []int{80}, "tcp", true},
}

// check sends every packet of the table.
func (s *site) check(what string) {
	s.t.Helper()
	s.checkRows(what, zoneTable)
}

func (s *site) checkRows(what string, rows []zoneRow) {
	s.t.Helper()
	for _, row := range rows {
		for _, six := range []bool{false, true} {
			if row.from == "friend" && six {
				continue // the allow list of "office" has no IPv6 address of the lab
			}
			for _, port := range row.ports {
				p, marker := s.probe(row, port, six)
				if got := passes(s.t, p, row.accept, marker); got != row.accept {
					s.t.Errorf("%s: %v: passes: %v, want %v", what, p, got, row.accept)
				}
			}
		}
	}
}

// probe makes a packet of a row, and one that follows it and passes.
func (s *site) probe(row zoneRow, port int, six bool) (p, marker probe) {
	pick := func(four, v6 string) string {
		if six {
			return v6
		}
		return four
	}
	p = probe{protocol: row.proto, port: port}
	open := 5060 // open to every zone
	switch row.from {
	case "wan":
		p.from, p.to = s.internet, pick(wanAddr, wanAddr6)
	case "friend":
		p.from, p.source, p.to = s.internet, friendAddr, wanAddr
	case "lan":
		p.from, p.to = s.desk, pick(lanAddr, lanAddr6)
	case "docker":
		p.from, p.to = s.bridged, pick("172.30.0.1", "fd00:b::1")
	}
	marker = probe{from: p.from, source: p.source, to: p.to, protocol: "tcp", port: open}
	switch row.to {
	case "lan":
		p.to = pick(deskAddr, deskAddr6)
	case "wan":
		p.to = pick(netAddr, netAddr6)
	case "box":
		p.to = pick(boxAddr, boxAddr6)
	}
	return p, marker
}

// disturbances are what others do to the rules of everybody.
var disturbances = []struct{ name, script string }{
	{"flush ruleset", "nft flush ruleset"},
	{"nftables.service restarts", "nft -f /etc/nftables.conf"},
	{"nftables.service restarts twice", "for i in 1 2 3 4; do nft flush ruleset; nft -f /etc/nftables.conf; done"},
	{"FreePBX's clean-iptables", "for i in iptables ip6tables; do $i -F; $i -X; $i -t nat -F; $i -t nat -X; done"},
	{"our table is flushed", "nft flush table inet sae_agent"},
	{"our chain is deleted", "nft flush chain inet sae_agent forward; nft delete chain inet sae_agent forward"},
	{"our rule is changed", "nft insert rule inet sae_agent guard accept"},
}

// disturb does what others do, and waits until our rules are back.
func (s *site) disturb(script string) {
	s.t.Helper()
	want := s.rules()
	if !strings.Contains(want, "chain guard") {
		s.t.Fatalf("no rules before %q: %s", script, want)
	}
	s.appliance.Run("sh", "-ec", script)
	labtest.Eventually(s.t, func() error {
		if got := s.rules(); got != want {
			return fmt.Errorf("after %q the rules are not back:\n%s", script, cmp.Diff(want, got))
		}
		return nil
	})
}

// rules are the lines of our table as the kernel has it.
func (s *site) rules() string {
	out, err := s.appliance.Command("nft", "--stateless", "--terse", "list", "table", "inet", TableName).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines) // a chain that was deleted comes back as the last one
	return strings.Join(lines, "\n")
}

func labConfig() Config {
	c := office()
	c.Allow = prefixes(friendAddr+"/32", "2001:db8:1::/48")
	c.AllowNames = []string{"friend.example", "nowhere.example"}
	c.LANNets = prefixes("192.168.1.0/24", "fd00:34::/64")
	// The table has more probes than a stranger may send.
	c.Shield.Connections.Burst = 100000
	return c
}

// With SIP closed to the Internet, the allow list may use it all the same, and what
// is for the LAN alone stays closed even to it.
func TestAllowListMayUseSIP(t *testing.T) {
	s := newSite(t)
	c := labConfig()
	for i := range c.Services {
		c.Services[i].WAN = false
		c.Services[i].Allowed = c.Services[i].Allowed || c.Services[i].LANOnly
	}
	c.Services[0].WAN = true // SSH, for the markers
	s.start(c)
	marker := s.ssh(friendAddr)
	for _, test := range []struct {
		source, protocol string
		port             int
		accept           bool
	}{
		{friendAddr, "udp", 5060, true}, {friendAddr, "tcp", 5060, true}, {friendAddr, "udp", 15000, true},
		{friendAddr, "udp", 69, false}, {friendAddr, "tcp", 9303, false}, {friendAddr, "tcp", 7443, false},
		{netAddr, "udp", 5060, false}, {netAddr, "tcp", 5060, false}, {netAddr, "udp", 15000, false},
	} {
		p := probe{from: s.internet, source: test.source, to: wanAddr, protocol: test.protocol, port: test.port}
		if got := passes(t, p, test.accept, marker); got != test.accept {
			t.Errorf("%v: passes: %v", p, got)
		}
	}
}

func TestZones(t *testing.T) {
	s := newSite(t)
	s.start(labConfig())
	s.check("at first")
	for _, d := range disturbances {
		s.disturb(d.script)
		s.check("after " + d.name)
	}
	s.stop()
	s.check("after the agent's end")
}
