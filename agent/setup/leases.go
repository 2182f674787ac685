package setup

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
)

// LeaseNotes says what becomes of the leases of the servers that are here now.
func LeaseNotes(c *config.Config, found []leasefile.Found) (notes []string) {
	for _, f := range found {
		if len(f.Live) > 0 {
			notes = append(notes, fmt.Sprintf("%d clients have a lease of %s (%s): 'sae-agent takeover' has them keep their addresses", len(f.Live), f.Server, f.Path))
		}
	}
	var outside []string
	for _, l := range leasefile.Merge(found) {
		if c.LAN.Address.Masked().Contains(l.Addr) && !c.DHCP.Range.Contains(l.Addr) && !reserved(c, l.Addr, l.MAC) {
			outside = append(outside, l.Addr.String())
		}
	}
	if n := len(outside); n > 0 {
		notes = append(notes, fmt.Sprintf("%d of these addresses are outside dhcp.range, so their clients get others at their next renewal; the first is %s", n, outside[0]))
	}
	return notes
}

func reserved(c *config.Config, addr netip.Addr, mac net.HardwareAddr) bool {
	return slices.ContainsFunc(c.DHCP.Reservations, func(r config.Reservation) bool {
		return r.IP == addr && slices.Equal(r.MAC, mac)
	})
}
