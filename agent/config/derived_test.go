package config

import (
	"net/netip"
	"slices"
	"testing"
)

// Phones behind a router fetch their files, too.
func TestPhoneNetworks(t *testing.T) {
	lan, voice := netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("192.168.20.0/24")
	c := &Config{LAN: LAN{Address: netip.MustParsePrefix("192.168.1.1/24")}}
	c.DHCP.Relays = []DHCPRelay{{Address: netip.MustParseAddr("192.168.1.50")}, {Address: netip.MustParseAddr("192.168.20.1"), Subnet: voice}}
	if got := c.PhoneNetworks(); !slices.Equal(got, []netip.Prefix{lan, voice}) {
		t.Errorf("%v", got)
	}
}
