package setup

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
)

func TestLeaseNotes(t *testing.T) {
	c, _, err := config.Options{}.Parse("config.yaml", []byte(`wan: {interface: ens33, method: dhcp}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100, reservations: [{mac: "00:15:65:00:00:02", ip: 192.168.1.200}]}
pbx: {driver: none}
`))
	if err != nil {
		t.Fatal(err)
	}
	lease := func(addr string, n byte) leasefile.Lease {
		return leasefile.Lease{Addr: netip.MustParseAddr(addr), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, n}}
	}
	notes := LeaseNotes(c, []leasefile.Found{
		{Server: "dnsmasq", Path: "/var/lib/misc/dnsmasq.leases", Live: []leasefile.Lease{
			lease("192.168.1.50", 1), lease("192.168.1.200", 2), lease("192.168.1.201", 3), lease("10.0.0.1", 4),
		}},
		{Server: "Kea", Path: "/var/lib/kea/kea-leases4.csv"},
	})
	if len(notes) != 2 || !strings.HasPrefix(notes[0], "4 clients have a lease of dnsmasq") || !strings.Contains(notes[1], "1 of these addresses") || !strings.HasSuffix(notes[1], "192.168.1.201") {
		t.Errorf("%q", notes)
	}
}
