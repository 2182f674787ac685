package network

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/netcfg"
)

var (
	compareAddr   = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
)

func TestDesiredNetwork(t *testing.T) {
	lan := netcfg.Link{Name: "ens34", Method: netcfg.MethodStatic, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}
	for name, c := range map[string]struct {
		wan  string
		want netcfg.Link
	}{
		"dhcp":     {"wan: {interface: ens33}", netcfg.Link{Name: "ens33", Method: netcfg.MethodDHCP}},
		"external": {"wan: {interface: ens33, method: external}", netcfg.Link{Name: "ens33", Method: netcfg.MethodExternal}},
		"static": {"wan: {interface: ens33, method: static, address: 198.51.100.2/24, gateway: 198.51.100.1, dns: [9.9.9.9]}", netcfg.Link{
			Name: "ens33", Method: netcfg.MethodStatic, Gateway: netip.MustParseAddr("198.51.100.1"), DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
			Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")},
		}},
		"none": {"wan: {method: none}", netcfg.Link{}},
	} {
		t.Run(name, func(t *testing.T) {
			want := netcfg.Config{WAN: c.want, LAN: lan, Forwarding: name != "none", StateDir: "/state/network"}
			got := Desired(parttest.Config(t, "wan: {interface: ens33}", c.wan), "/state/network")
			if diff := cmp.Diff(want, got, compareAddr, comparePrefix); diff != "" {
				t.Error(diff)
			}
		})
	}
}
