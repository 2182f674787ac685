package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// SuggestRange returns the usual range of a LAN: beyond the first addresses,
// which routers and servers like to have, and clear of the appliance's own.
func SuggestRange(lan netip.Prefix) AddrRange {
	low, high := toUint(lan.Masked().Addr()), toUint(broadcast(lan))
	first, last := low+10, high-6
	if high-low < 64 {
		first, last = low+2, high-1
	}
	own := toUint(lan.Addr())
	switch {
	case own < first || own > last:
	case own-first > last-own:
		last = own - 1
	default:
		first = own + 1
	}
	return AddrRange{fromUint(first), fromUint(last)}
}

func (v *checker) dhcp() {
	d := v.DHCP
	v.lanResolvers("dhcp.dns", d.DNS)
	v.lanResolvers("dhcp.ntp", d.NTP)
	v.dhcpRange()
	v.relays()
	for path, t := range map[string]time.Duration{"dhcp.lease_time": d.LeaseTime, "dhcp.stranger_lease_time": d.StrangerLeaseTime} {
		zeroMeansDefault := path == "dhcp.stranger_lease_time" && t == 0
		if v.ok(path) && !zeroMeansDefault && (t < 2*time.Minute || t > 365*24*time.Hour) {
			v.fail(path, "write for instance 12h", "%s is not between 2m and 365d", formatDuration(t))
		}
	}
	if v.ok("dhcp.domain") && d.Domain != "" && !isHostName(d.Domain) {
		v.fail("dhcp.domain", "write letters, digits, dashes and dots, such as sae303.example", "%q is not a domain name", d.Domain)
	}
	if v.ok("dhcp.voice_vlan") && d.VoiceVLAN > 4094 {
		v.fail("dhcp.voice_vlan", "write the number of the VLAN, or leave it out", "%d is not between 1 and 4094", d.VoiceVLAN)
	}
	if v.ok("dhcp.gateway", "lan.address") {
		v.onLAN("dhcp.gateway", d.Gateway)
	}
	v.dhcpPeers()
}

func (v *checker) dhcpPeers() {
	for i, a := range v.DHCP.Peers {
		at := fmt.Sprintf("dhcp.peers[%d]", i)
		switch {
		case !v.ok(at, "lan.address"):
		case a == v.LAN.Address.Addr():
			v.fail(at, "write the other server's address", "%s is the appliance's own address (%s)", a, v.line("lan.address"))
		default:
			v.onLAN(at, a)
		}
	}
}

func (v *checker) dhcpRange() {
	if !v.ok("lan.address", "dhcp", "dhcp.range") {
		return
	}
	r, lan := v.DHCP.Range, v.LAN.Address
	inside := "write for instance " + SuggestRange(lan).String()
	switch {
	case r.IsZero() && v.DHCP.Enabled:
		v.fail("dhcp.range", "add range: "+SuggestRange(lan).String()+", or enabled: false when another server serves DHCP", "is missing")
	case r.IsZero():
		return
	case !lan.Contains(r.First) || !lan.Contains(r.Last):
		v.fail("dhcp.range", inside, "%s is outside the LAN %s (%s)", r, lan.Masked(), v.line("lan.address"))
	case r.Contains(lan.Masked().Addr()):
		v.fail("dhcp.range", inside, "%s includes the %s", r, edge(lan, lan.Masked().Addr()))
	case r.Contains(broadcast(lan)):
		v.fail("dhcp.range", inside, "%s includes the %s", r, edge(lan, broadcast(lan)))
	case r.Contains(lan.Addr()):
		v.fail("dhcp.range", inside, "%s includes the appliance's own address %s (%s)", r, lan.Addr(), v.line("lan.address"))
	case v.DHCP.Gateway != lan.Addr() && v.ok("dhcp.gateway") && r.Contains(v.DHCP.Gateway):
		v.fail("dhcp.range", "leave the gateway out of it", "%s includes the gateway %s (%s)", r, v.DHCP.Gateway, v.line("dhcp.gateway"))
	default:
		return
	}
	v.markBad("dhcp.range")
}

// relays checks the relays and the networks behind them.
func (v *checker) relays() {
	if !v.ok("lan.address", "dhcp", "dhcp.relays") {
		return
	}
	lan := v.LAN.Address
	addresses, subnets := map[netip.Addr]string{}, map[netip.Prefix]string{}
	for i, r := range v.DHCP.Relays {
		at := fmt.Sprintf("dhcp.relays[%d]", i)
		if !v.ok(at, at+".address", at+".subnet", at+".range") {
			continue
		}
		if first, twice := addresses[r.Address]; twice {
			v.fail(at+".address", "name each relay once", "%s is named already (%s)", r.Address, v.line(first))
			continue
		}
		addresses[r.Address] = at + ".address"
		switch {
		case r.Address == lan.Addr():
			v.fail(at+".address", "write the relay's address", "%s is the appliance's own address (%s)", r.Address, v.line("lan.address"))
		case r.Subnet.IsValid() && r.Subnet.Masked() != lan.Masked():
			v.relaySubnet(at, r, subnets)
		case !lan.Contains(r.Address):
			v.fail(at+".address", "add subnet and range of the network that it serves", "%s is outside the LAN %s (%s)", r.Address, lan.Masked(), v.line("lan.address"))
		case !r.Range.IsZero():
			v.fail(at+".range", "leave it out: the LAN's range is used", "there is no subnet that it could be of")
		case v.DHCP.Range.Contains(r.Address):
			v.warn(at+".address", "leave it out of the range", "%s lies in the range that DHCP gives away (%s)", r.Address, v.line("dhcp.range"))
		}
	}
}

// relaySubnet checks the network behind a relay.
func (v *checker) relaySubnet(at string, r DHCPRelay, seen map[netip.Prefix]string) {
	subnet := r.Subnet.Masked()
	if !subnet.Addr().Is4() || subnet.Bits() < 12 || subnet.Bits() > 30 {
		v.fail(at+".subnet", "write an IPv4 network of 12 to 30 bits", "%s is none with room for clients", r.Subnet)
		return
	}
	if subnet.Overlaps(v.LAN.Address.Masked()) {
		v.fail(at+".subnet", "write the network behind the relay", "%s overlaps the LAN %s (%s)", subnet, v.LAN.Address.Masked(), v.line("lan.address"))
	}
	for other, path := range seen {
		if subnet.Overlaps(other) {
			v.fail(at+".subnet", "give each network one relay", "%s overlaps %s (%s)", subnet, other, v.line(path))
		}
	}
	seen[subnet] = at + ".subnet"
	if !subnet.Contains(r.Address) {
		v.fail(at+".address", "write the relay's address in "+subnet.String(), "%s is outside its clients' network", r.Address)
	}
	gateway := netip.PrefixFrom(r.Address, subnet.Bits())
	switch {
	case r.Range.IsZero():
		v.fail(at+".range", "add range: "+SuggestRange(gateway).String(), "is missing")
	case !subnet.Contains(r.Range.First) || !subnet.Contains(r.Range.Last):
		v.fail(at+".range", "write for instance "+SuggestRange(gateway).String(), "%s is outside %s", r.Range, subnet)
	case r.Range.Contains(subnet.Addr()) || r.Range.Contains(broadcast(subnet)) || r.Range.Contains(r.Address):
		v.fail(at+".range", "write for instance "+SuggestRange(gateway).String(), "%s includes the network's, the broadcast or the relay's address", r.Range)
	}
}

// relayed reports whether an address is of a network behind a relay.
func (v *checker) relayed(a netip.Addr) bool {
	return slices.ContainsFunc(v.DHCP.Relays, func(r DHCPRelay) bool { return r.Subnet.Contains(a) && r.Address != a })
}

// onLAN checks the address of another machine on the LAN, or of the appliance.
func (v *checker) onLAN(path string, a netip.Addr) {
	lan := v.LAN.Address
	switch {
	case !lan.Contains(a):
		v.fail(path, "write an address in "+lan.Masked().String(), "%s is outside the LAN %s (%s)", a, lan.Masked(), v.line("lan.address"))
	case a == lan.Masked().Addr() || a == broadcast(lan):
		v.fail(path, "write a machine's address", "%s is the %s", a, edge(lan, a))
	}
}

func (v *checker) reservations() {
	macs, ips, names := map[string]string{}, map[netip.Addr]string{}, map[string]string{}
	for i, r := range v.DHCP.Reservations {
		at := fmt.Sprintf("dhcp.reservations[%d]", i)
		if v.ok(at, at+".mac") {
			if first, twice := macs[r.MAC.String()]; twice {
				v.fail(at+".mac", "give the device one address", "%s has a reservation already (%s)", r.MAC, v.line(first))
			} else {
				macs[r.MAC.String()] = at + ".mac"
			}
		}
		if v.ok(at, at+".ip") {
			v.reservedIP(at+".ip", r.IP, ips)
		}
		if v.ok(at+".hostname") && r.Hostname != "" {
			if !isHostName(r.Hostname) || len(r.Hostname) > 63 {
				v.fail(at+".hostname", "write letters, digits and dashes, at most 63", "%q is not a host name", r.Hostname)
			} else if first, twice := names[r.Hostname]; twice {
				v.warn(at+".hostname", "give each device its own name", "%q names another device too (%s)", r.Hostname, v.line(first))
			}
			names[r.Hostname] = at + ".hostname"
		}
	}
}

func (v *checker) reservedIP(path string, a netip.Addr, seen map[netip.Addr]string) {
	if first, twice := seen[a]; twice {
		v.fail(path, "give each device its own address", "%s is reserved already (%s)", a, v.line(first))
		return
	}
	seen[a] = path
	switch {
	case !v.ok("lan.address"):
	case a == v.LAN.Address.Addr():
		v.fail(path, "write another address", "%s is the appliance's own address (%s)", a, v.line("lan.address"))
	case v.ok("dhcp.gateway") && a == v.DHCP.Gateway:
		v.fail(path, "write another address", "%s is the gateway's address (%s)", a, v.line("dhcp.gateway"))
	case v.ok("dhcp.relays") && v.relayed(a):
	default:
		v.onLAN(path, a)
	}
}

// ownOptions are set by the DHCP server itself, most of them from other keys.
var ownOptions = map[uint8]string{
	1: "lan.address", 3: "dhcp.gateway", 6: "dhcp.dns", 12: "dhcp.reservations[].hostname", 15: "dhcp.domain",
	50: "", 51: "dhcp.lease_time", 52: "", 53: "", 54: "", 55: "", 56: "", 57: "", 58: "", 59: "", 60: "", 61: "", 82: "",
}

// OwnOption reports whether an option is not for dhcp.options, since the server sets it itself.
func OwnOption(code uint8) bool {
	_, own := ownOptions[code]
	return own
}

func (v *checker) dhcpOptions() {
	type id struct {
		code  uint8
		class string
	}
	seen := make(map[id]string)
	for i, o := range v.DHCP.Options {
		at := fmt.Sprintf("dhcp.options[%d]", i)
		if !v.ok(at, at+".code") {
			continue
		}
		key, own := ownOptions[o.Code]
		first, twice := seen[id{o.Code, o.Class}]
		switch {
		case o.Code == 0 || o.Code == 255:
			v.fail(at+".code", "write a code from 1 to 254", "option %d only marks places in a DHCP message", o.Code)
		case own && key != "":
			v.fail(at+".code", "set "+key+" instead", "option %d is made from %s", o.Code, key)
		case own:
			v.fail(at+".code", "remove this entry", "option %d is the server's own business", o.Code)
		case twice:
			v.fail(at+".code", "keep one of the two", "option %d is given twice to the same devices (%s)", o.Code, v.line(first))
		}
		seen[id{o.Code, o.Class}] = at + ".code"
		v.optionValue(at, o)
	}
}

func (v *checker) optionValue(at string, o DHCPOption) {
	if !v.ok(at+".text", at+".ip", at+".number", at+".hex") {
		return
	}
	set := 0
	for _, given := range []bool{o.Text != "", len(o.IP) > 0, o.Number != nil, len(o.Hex) > 0} {
		if given {
			set++
		}
	}
	switch {
	case set == 0:
		v.fail(at, "add text, ip, number or hex", "option %d has no value", o.Code)
	case set > 1:
		v.fail(at, "keep one of text, ip, number and hex", "option %d has more than one value", o.Code)
	case len(o.Bytes()) > 255:
		v.fail(at, "write at most 255 bytes", "option %d is %d bytes long", o.Code, len(o.Bytes()))
	}
	for i, a := range o.IP {
		if path := fmt.Sprintf("%s.ip[%d]", at, i); v.ok(path) && !a.Is4() {
			v.fail(path, "write an IPv4 address", "%s cannot be told by DHCP for IPv4", a)
		}
	}
}

// pool warns when there are more phones than addresses for them.
func (v *checker) pool() {
	if !v.DHCP.Enabled || !v.ok("dhcp", "dhcp.range", "dhcp.reservations", "phones", "lan.address") {
		return
	}
	free, need := v.DHCP.Range.Size(), len(v.Phones)
	for _, r := range v.DHCP.Relays {
		free += r.Range.Size()
	}
	for _, r := range v.DHCP.Reservations {
		if v.DHCP.Range.Contains(r.IP) {
			free--
		}
		if slices.ContainsFunc(v.Phones, func(p Phone) bool { return slices.Equal(p.MAC, r.MAC) }) {
			need--
		}
	}
	if need > free {
		v.warn("dhcp.range", "widen it, for instance to "+SuggestRange(v.LAN.Address).String(), "has room for %d of %d phones", max(free, 0), need)
	}
}
