package config

import (
	"fmt"
	"net/netip"
	"regexp"
)

var interfaceShape = regexp.MustCompile(`^[^\s/:%]{1,15}$`)

func (v *checker) card(path, name string) {
	if v.ok(path) && (!interfaceShape.MatchString(name) || name == "." || name == ".." || name == "lo") {
		v.fail(path, "'ip -br link' shows the cards", "%q is not the name of a network card", name)
	}
}

func (v *checker) mtu(path string, mtu int) {
	if v.ok(path) && mtu != 0 && (mtu < 576 || mtu > 9216) {
		v.fail(path, "write 1500, or leave it out", "%d is not between 576 and 9216", mtu)
	}
}

func (v *checker) lan() {
	v.mtu("lan.mtu", v.LAN.MTU)
	v.card("lan.interface", v.LAN.Interface)
	if !v.ok("lan.address") {
		return
	}
	a := v.LAN.Address
	switch {
	case !a.IsValid():
		v.fail("lan.address", "add address: 192.168.1.1/24", "is missing")
	case !a.Addr().Is4():
		v.fail("lan.address", "write an IPv4 address such as 192.168.1.1/24", "%s is not an IPv4 address", a)
	case a.Bits() < 8 || a.Bits() > 30:
		v.fail("lan.address", "write a prefix length from 8 to 30, usually /24", "a /%d is no LAN for phones", a.Bits())
	case !usable(a.Addr()):
		v.fail("lan.address", "write a private address such as 192.168.1.1/24", "%s cannot be a machine's address", a.Addr())
	case a.Addr() == a.Masked().Addr() || a.Addr() == broadcast(a):
		v.fail("lan.address", fmt.Sprintf("write %s/%d", a.Masked().Addr().Next(), a.Bits()), "%s is the %s", a.Addr(), edge(a, a.Addr()))
	default:
		return
	}
	v.markBad("lan.address")
}

// markBad keeps a value that makes no sense out of comparisons.
func (v *checker) markBad(path string) {
	if v.bad == nil {
		v.bad = make(map[string]bool)
	}
	v.bad[path] = true
}

// usable says whether a single machine can have the address.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func edge(p netip.Prefix, a netip.Addr) string {
	if a == broadcast(p) {
		return fmt.Sprintf("broadcast address of %s", p.Masked())
	}
	return fmt.Sprintf("network address of %s", p.Masked())
}

func (v *checker) wan() {
	w := v.WAN
	v.mtu("wan.mtu", w.MTU)
	v.resolvers("wan.dns", w.DNS)
	if !v.ok("wan", "wan.method") {
		return
	}
	switch {
	case w.Interface != "" || v.bad["wan.interface"]:
		v.card("wan.interface", w.Interface)
	case w.Method != WANNone:
		v.fail("wan.interface", "add interface: ens33, or method: none when there is no way out", "is missing")
	}
	if v.ok("wan.interface", "lan.interface") && w.Interface != "" && w.Interface == v.LAN.Interface {
		v.fail("wan.interface", "name the other card; 'ip -br link' shows both", "%s is already the LAN's card (%s)", w.Interface, v.line("lan.interface"))
	}
	if w.Method == WANStatic {
		v.wanStatic()
		return
	}
	for path, set := range map[string]bool{"wan.address": w.Address.IsValid(), "wan.gateway": w.Gateway.IsValid()} {
		if set {
			v.fail(path, "write method: static, or remove this line", "does not go with method %s", w.Method)
		}
	}
}

func (v *checker) wanStatic() {
	a, g := v.WAN.Address, v.WAN.Gateway
	if !a.IsValid() && v.ok("wan.address") {
		v.fail("wan.address", "add address: 198.51.100.2/24", "is missing, and method static needs it")
		v.markBad("wan.address")
	}
	if !g.IsValid() && v.ok("wan.gateway") {
		v.fail("wan.gateway", "add gateway: 198.51.100.1", "is missing, and method static needs it")
		v.markBad("wan.gateway")
	}
	if !v.ok("wan.address") {
		return
	}
	if !usable(a.Addr()) || a.Addr().Is4() && a.Bits() < 31 && (a.Addr() == a.Masked().Addr() || a.Addr() == broadcast(a)) {
		v.fail("wan.address", "write the address that the provider gave", "%s cannot be a machine's address", a)
		return
	}
	if v.ok("lan.address") && a.Overlaps(v.LAN.Address) {
		v.fail("wan.address", "give one of the cards another subnet", "overlaps the LAN %s (%s)", v.LAN.Address.Masked(), v.line("lan.address"))
	}
	switch {
	case !v.ok("wan.gateway"):
	case !a.Contains(g):
		v.fail("wan.gateway", "write the router's address in "+a.Masked().String(), "%s is outside the WAN's subnet %s", g, a.Masked())
	case g == a.Addr():
		v.fail("wan.gateway", "write the router's address", "%s is the appliance's own address", g)
	}
}

func (v *checker) resolvers(path string, list []netip.Addr) {
	seen := make(map[netip.Addr]int)
	for i, a := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		first, twice := seen[a]
		switch {
		case !v.ok(path, at):
		case a.IsUnspecified() || a.IsMulticast():
			v.fail(at, "write the address of a server", "%s is not a machine's address", a)
		case twice:
			v.fail(at, "keep one of the two", "%s is listed twice (%s)", a, v.line(fmt.Sprintf("%s[%d]", path, first)))
		}
		seen[a] = i
	}
}

// lanResolvers checks servers that DHCPv4 hands out.
func (v *checker) lanResolvers(path string, list []netip.Addr) {
	v.resolvers(path, list)
	for i, a := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !v.ok(at):
		case !a.Is4():
			v.fail(at, "write an IPv4 address", "%s cannot be told by DHCP for IPv4", a)
		case a.IsLoopback():
			v.fail(at, "write the LAN address", "%s would be each phone itself", a)
		}
	}
}
