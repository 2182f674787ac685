package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/problem"
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

// Each fault of a card has a fix that mends it: a cable is no case for a takeover.
func TestLinkProblems(t *testing.T) {
	owner := []netcfg.Owner{{Manager: "ifupdown", Evidence: "/etc/network/interfaces", Advice: "remove the lines"}}
	for name, c := range map[string]struct {
		role string
		link netcfg.LinkStatus
		id   problem.ID
		fix  string
	}{
		"fine":         {"lan", netcfg.LinkStatus{Exists: true, Up: true, Carrier: true, Owners: owner}, "", ""},
		"no card":      {"lan", netcfg.LinkStatus{Problem: "there is no card"}, problem.LinkTrouble, "lan.interface"},
		"no cable":     {"lan", netcfg.LinkStatus{Exists: true, Up: true, Problem: "no cable"}, problem.LinkTrouble, "cable of ens34"},
		"his, pulled":  {"lan", netcfg.LinkStatus{Exists: true, Up: true, Owners: owner, Problem: "no cable"}, problem.LinkTrouble, "cable of ens34"},
		"somebody's":   {"lan", netcfg.LinkStatus{Exists: true, Up: true, Carrier: true, Owners: owner, Problem: "manages"}, problem.CardManaged, "takeover"},
		"no lease":     {"wan", netcfg.LinkStatus{Exists: true, Up: true, Carrier: true, Method: netcfg.MethodDHCP, Problem: "no lease"}, problem.LinkTrouble, "router that it leads to"},
		"no route":     {"wan", netcfg.LinkStatus{Exists: true, Up: true, Carrier: true, Method: netcfg.MethodExternal, Addressed: true, Problem: "no default route"}, problem.LinkTrouble, "wan.gateway"},
		"undone again": {"lan", netcfg.LinkStatus{Exists: true, Up: true, Carrier: true, Addressed: true, Problem: "undoes"}, problem.LinkTrouble, "logs --part network"},
	} {
		t.Run(name, func(t *testing.T) {
			c.link.Name = "ens34"
			got := problems(c.role, c.link)
			if c.id == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || got[0].ID != c.id || !strings.Contains(got[0].Fix, c.fix) || (got[0].Severity == problem.Error) != (c.role == "lan") {
				t.Errorf("%+v", got)
			}
		})
	}
}
