package setup

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/setup/dhcpdconf"
)

// isc takes a dhcpd.conf over. A statement holds in its scope and in those within it; of several, the innermost one that
// the LAN's clients are in counts. What is not taken over is noted with its line.
type isc struct {
	own     []netip.Prefix
	lookup  func(name string) []netip.Addr // of names that stand for addresses; nil: none is looked up
	notes   []string
	said    map[string]bool // statements that were taken over or noted, by place: a test finds those that were forgotten
	defined map[string]optionType
	hosts   []reservation
	subnets []iscSubnet
}

// iscSubnet is a subnet with what is around it.
type iscSubnet struct {
	dhcpdconf.Statement
	prefix netip.Prefix
	scopes [][]dhcpdconf.Statement // parameters, from the file's to the subnet's own
}

func (r *isc) note(s dhcpdconf.Statement, format string, args ...any) {
	r.take(s)
	r.notes = append(r.notes, fmt.Sprintf("%s line %d: %s: %s", s.File, s.Line, s, fmt.Sprintf(format, args...)))
}

// take notes that a statement was dealt with.
func (r *isc) take(s dhcpdconf.Statement) { r.said[place(s)] = true }

func place(s dhcpdconf.Statement) string { return fmt.Sprintf("%s:%d: %s", s.File, s.Line, s) }

// noteAll notes a statement and all that are within it.
func (r *isc) noteAll(s dhcpdconf.Statement, why string) {
	r.note(s, "%s", why)
	for _, inner := range s.Block {
		r.noteAll(inner, "is not taken over either")
	}
}

// read takes a file over; false when it serves no network.
func (r *isc) read(list []dhcpdconf.Statement) (served, bool) {
	r.defined, r.said = make(map[string]optionType), make(map[string]bool)
	r.definitions(list)
	r.scope(list, nil, false)
	prefixes := make([]netip.Prefix, len(r.subnets))
	for i, s := range r.subnets {
		prefixes[i] = s.prefix
	}
	chosen := pick(prefixes, r.own)
	for i, s := range r.subnets {
		if i != chosen {
			r.noteAll(s.Statement, "is not taken over: one LAN is served, and this is not the one")
		}
	}
	if chosen < 0 {
		for _, s := range list {
			if !s.Nested {
				r.note(s, "is not taken over: no network is served")
			}
		}
		return served{}, false
	}
	out := r.network(r.subnets[chosen])
	r.noteRest(list)
	return out, true
}

// noteRest notes what is left: parameters of scopes that the LAN's clients are not in.
func (r *isc) noteRest(list []dhcpdconf.Statement) {
	for _, s := range list {
		if !r.said[place(s)] && len(s.Words) > 0 {
			r.note(s, "is not taken over: it does not hold for this LAN")
		}
		r.noteRest(s.Block)
	}
}

// scope sorts the statements of one scope. Parameters of a group that has only hosts hold for those.
func (r *isc) scope(list []dhcpdconf.Statement, outer [][]dhcpdconf.Statement, group bool) {
	var params []dhcpdconf.Statement
	for _, s := range list {
		if !s.Nested {
			params = append(params, s)
		}
	}
	scopes := append(slices.Clone(outer), params)
	before := len(r.subnets)
	for _, s := range list {
		switch {
		case !s.Nested:
		case s.Word(0) == "subnet":
			r.subnet(s, scopes)
		case s.Word(0) == "shared-network" || s.Word(0) == "group":
			r.take(s)
			r.scope(s.Block, scopes, true)
		case s.Word(0) == "host":
			r.host(s)
		case len(s.Words) == 0: // braces alone
			r.scope(s.Block, outer, group)
		default:
			r.noteAll(s, blockReason(s))
		}
	}
	if group && len(r.subnets) == before {
		for _, s := range params {
			if r.harmless(s) || s.Word(2) == "code" {
				continue
			}
			r.note(s, "is not taken over: it holds for this group only")
		}
	}
}

// blockReason says why a block is not taken over.
func blockReason(s dhcpdconf.Statement) string {
	switch s.Word(0) {
	case "key", "zone", "failover", "on":
		return "is not taken over: our server has nothing like it"
	}
	return "is not taken over: it holds for some clients only"
}

// subnet notes a subnet that may be served. One without statements only tells dhcpd that the network is there.
func (r *isc) subnet(s dhcpdconf.Statement, scopes [][]dhcpdconf.Statement) {
	addr, err := netip.ParseAddr(s.Text(1))
	mask := net.ParseIP(s.Text(3)).To4()
	if err != nil || mask == nil {
		r.noteAll(s, "is no subnet that can be read")
		return
	}
	ones, bits := net.IPMask(mask).Size()
	if bits == 0 {
		r.noteAll(s, "has a mask with gaps")
		return
	}
	prefix := netip.PrefixFrom(addr, ones).Masked()
	if _, own := holdsOwn(prefix, r.own); len(s.Block) == 0 && !own {
		r.take(s)
		return
	}
	var params []dhcpdconf.Statement
	for _, inner := range s.Block {
		if !inner.Nested {
			params = append(params, inner)
		}
		if inner.Word(0) == "host" {
			r.host(inner)
		}
	}
	r.subnets = append(r.subnets, iscSubnet{s, prefix, append(slices.Clone(scopes), params)})
}

// network reads the subnet that is served.
func (r *isc) network(s iscSubnet) served {
	r.take(s.Statement)
	out := served{subnet: s.prefix, reservations: r.hosts}
	var pool []dhcpdconf.Statement
	ranged := slices.ContainsFunc(s.Block, func(x dhcpdconf.Statement) bool { return x.Word(0) == "range" })
	for _, inner := range s.Block {
		switch {
		case !inner.Nested || inner.Word(0) == "host":
		case inner.Word(0) == "pool" && !ranged:
			r.take(inner)
			ranged = true
			for _, x := range inner.Block {
				if x.Nested {
					r.noteAll(x, "is not taken over: it holds for some clients only")
				} else {
					pool = append(pool, x)
				}
			}
		case inner.Word(0) == "pool":
			r.noteAll(inner, "is not taken over: one pool is served, the first")
		case inner.Word(0) == "group":
			r.take(inner)
			r.scope(inner.Block, s.scopes, true)
			out.reservations = r.hosts
		default:
			r.noteAll(inner, blockReason(inner))
		}
	}
	done := make(map[string]dhcpdconf.Statement)
	scopes := append(slices.Clone(s.scopes), pool)
	for _, scope := range slices.Backward(scopes) {
		for _, x := range slices.Backward(scope) { // of two in one scope, the last counts
			key := parameter(x)
			if by, ok := done[key]; ok && key != "" {
				r.note(x, "is not taken over: line %d says otherwise for this LAN", by.Line)
				continue
			}
			if r.param(x, &out) && key != "" {
				done[key] = x
			}
		}
	}
	slices.Reverse(out.ranges)
	slices.SortFunc(out.options, func(a, b config.DHCPOption) int { return cmp.Compare(a.Code, b.Code) })
	return out
}

// parameter names what a statement sets; empty for one that can stand several times.
func parameter(s dhcpdconf.Statement) string {
	switch s.Word(0) {
	case "option":
		if s.Word(2) == "code" || s.Word(1) == "space" {
			return ""
		}
		return "option " + s.Word(1)
	case "default-lease-time", "next-server":
		return s.Word(0)
	}
	return ""
}

// harmless reports whether a statement asks for what our server does anyway.
func (r *isc) harmless(s dhcpdconf.Statement) bool {
	switch text := strings.ToLower(s.String()); text {
	case "authoritative", "ddns-update-style none", "ddns-updates off", "use-host-decl-names on", "use-host-decl-names true", "ping-check true", "ping-check on",
		"allow booting", "allow unknown-clients", "not authoritative", "ignore client-updates", "deny client-updates":
		if text == "not authoritative" {
			return false
		}
		r.take(s)
		return true
	}
	return false
}

// param takes one parameter over. It reports whether it has.
func (r *isc) param(s dhcpdconf.Statement, out *served) bool {
	if r.harmless(s) {
		return true
	}
	switch s.Word(0) {
	case "range":
		return r.addrRange(s, out)
	case "option":
		return r.option(s, out)
	case "default-lease-time":
		n, err := strconv.ParseUint(s.Text(1), 10, 31)
		if err != nil || len(s.Words) != 2 {
			r.note(s, "is not taken over: it is no number")
			return false
		}
		out.leaseTime = time.Duration(n) * time.Second
		r.take(s)
		return true
	case "max-lease-time", "min-lease-time", "log-facility", "lease-file-name", "pid-file-name", "server-identifier", "local-address", "omapi-port":
		r.note(s, "is not taken over: our server decides this itself")
	case "next-server", "server-name", "filename":
		r.note(s, "is not taken over: phones look at option 66, see provisioning.url")
	case "allow", "deny", "ignore":
		r.note(s, "is not taken over: every client is served; phones that nobody named wait for approval")
	default:
		r.note(s, "is not taken over")
	}
	return false
}

// addrs reads addresses, and names of machines, which are looked up.
func (r *isc) addrs(s dhcpdconf.Statement, words []dhcpdconf.Token) []netip.Addr {
	var out []netip.Addr
	for _, w := range words {
		if w.Text == "," {
			continue
		}
		if a, err := netip.ParseAddr(w.Text); err == nil && a.Is4() {
			out = append(out, a)
			continue
		}
		var found []netip.Addr
		if r.lookup != nil && !w.Quoted {
			found = r.lookup(w.Text)
		}
		if len(found) == 0 {
			r.note(s, "%q is a name, not an address, and is not taken over: write the address", w.Text)
			return nil
		}
		out = append(out, found...)
	}
	return out
}

func (r *isc) addrRange(s dhcpdconf.Statement, out *served) bool {
	words := s.Words[1:]
	if s.Word(1) == "dynamic-bootp" {
		words = words[1:]
	}
	ends := r.addrs(s, words)
	if len(ends) == 0 || len(ends) > 2 || ends[0].Compare(ends[len(ends)-1]) > 0 {
		r.note(s, "is not taken over: it is no range")
		return false
	}
	out.ranges = append(out.ranges, config.AddrRange{First: ends[0], Last: ends[len(ends)-1]})
	r.take(s)
	return true
}

// option takes an option over: into a key of its own, or into dhcp.options.
func (r *isc) option(s dhcpdconf.Statement, out *served) bool {
	name := s.Word(1)
	if s.Word(2) == "code" {
		return true // it was read before
	}
	t, known := r.defined[name]
	if !known {
		t, known = standardOptions[name]
	}
	switch {
	case name == "space" || !known:
		r.note(s, "is not taken over: see dhcp.options")
		return false
	case len(s.Words) < 3 || slices.ContainsFunc(s.Words[2:], func(w dhcpdconf.Token) bool { return !w.Quoted && strings.ContainsAny(w.Text, "(=)+") }):
		r.note(s, "is not taken over: it is worked out for each client")
		return false
	}
	before := len(r.notes)
	o, ok := r.value(s, t)
	switch {
	case !ok:
		if len(r.notes) == before {
			r.note(s, "is not taken over: see dhcp.options")
		}
		return false
	case t.code == 1 || t.code == 28: // they follow from the network
	case t.code == 3:
		out.gateway = o.IP[0]
		if len(o.IP) > 1 {
			r.note(s, "of several routers the first one is taken over")
		}
	case t.code == 6:
		out.dns = o.IP
	case t.code == 42:
		out.ntp = o.IP
	case t.code == 15:
		out.domain = o.Text
	case t.code == 66:
		out.url = o.Text
	case config.OwnOption(t.code):
		r.note(s, "is not taken over: our server sets it itself")
		return false
	default:
		if slices.ContainsFunc(out.options, func(x config.DHCPOption) bool { return x.Code == o.Code }) {
			r.note(s, "is not taken over: option %d is given already", o.Code)
			return false
		}
		out.options = append(out.options, o)
	}
	r.take(s)
	return true
}

// optionType is how an option is written and sent: ip, text, number of so many bits, flag or bytes.
type optionType struct {
	code uint8
	kind string
	bits int
}

// standardOptions are those of dhcp-options(5) that have a simple form.
var standardOptions = func() map[string]optionType {
	out := make(map[string]optionType)
	add := func(kind string, bits int, list string) {
		for entry := range strings.FieldsSeq(list) {
			name, code, _ := strings.Cut(entry, "=")
			n, _ := strconv.Atoi(code)
			out[name] = optionType{uint8(n), kind, bits}
		}
	}
	add("ip", 32, `subnet-mask=1 routers=3 time-servers=4 ien116-name-servers=5 domain-name-servers=6 log-servers=7 cookie-servers=8
		lpr-servers=9 impress-servers=10 resource-location-servers=11 swap-server=16 broadcast-address=28 router-solicitation-address=32
		static-routes=33 nis-servers=41 ntp-servers=42 netbios-name-servers=44 netbios-dd-server=45 font-servers=48 x-display-manager=49
		nisplus-servers=65 mobile-ip-home-agent=68 smtp-server=69 pop-server=70 nntp-server=71 www-server=72 finger-server=73 irc-server=74
		streettalk-server=75 streettalk-directory-assistance-server=76 subnet-selection=118 tftp-server-address=150`)
	add("text", 0, `host-name=12 merit-dump=14 domain-name=15 root-path=17 extensions-path=18 nis-domain=40 nwip-domain=62 nisplus-domain=64
		tftp-server-name=66 bootfile-name=67 uap-servers=98 pcode=100 tcode=101 v4-captive-portal=114`)
	add("bytes", 0, `vendor-encapsulated-options=43 dhcp-client-identifier=61 vendor-class-identifier=60 user-class=77`)
	add("flag", 0, `ip-forwarding=19 non-local-source-routing=20 all-subnets-local=27 perform-mask-discovery=29 mask-supplier=30
		router-discovery=31 trailer-encapsulation=34 ieee802-3-encapsulation=36 tcp-keepalive-garbage=39`)
	add("number", 8, `default-ip-ttl=23 default-tcp-ttl=37 netbios-node-type=46`)
	add("number", 16, `boot-size=13 max-dgram-reassembly=22 path-mtu-plateau-table=25 interface-mtu=26`)
	add("number", 32, `time-offset=2 path-mtu-aging-timeout=24 arp-cache-timeout=35 tcp-keepalive-interval=38 dhcp-renewal-time=58 dhcp-rebinding-time=59 v6-only-preferred=108`)
	out["netbios-scope"] = optionType{47, "text", 0}
	return out
}()

// definitions reads those of all options first: they hold in the whole file.
func (r *isc) definitions(list []dhcpdconf.Statement) {
	for _, s := range list {
		if s.Word(0) == "option" && s.Word(2) == "code" {
			r.define(s)
		}
		r.definitions(s.Block)
	}
}

// define reads an option's definition: option NAME code 150 = array of ip-address.
func (r *isc) define(s dhcpdconf.Statement) {
	n, err := strconv.ParseUint(s.Text(3), 10, 8)
	words := s.Words[min(5, len(s.Words)):]
	if len(words) > 2 && strings.EqualFold(words[0].Text, "array") {
		words = words[2:]
	}
	var kind []string
	for _, w := range words {
		kind = append(kind, strings.ToLower(w.Text))
	}
	t := optionType{code: uint8(n)}
	switch k := strings.Join(kind, " "); {
	case k == "ip-address":
		t.kind = "ip"
	case k == "text":
		t.kind = "text"
	case k == "string":
		t.kind = "bytes"
	case k == "boolean":
		t.kind = "flag"
	case slices.Contains([]string{"integer", "unsigned integer", "signed integer"}, strings.TrimRight(k, " 0123456789")):
		t.kind, t.bits = "number", 32
		if b, err := strconv.Atoi(kind[len(kind)-1]); err == nil {
			t.bits = b
		}
	}
	if err != nil || t.kind == "" || strings.Contains(s.Text(1), ".") {
		r.note(s, "is not taken over: a value of this form has to be written in hexadecimal, see dhcp.options")
		return
	}
	r.defined[s.Word(1)] = t
	r.take(s)
}

// value reads an option's value.
func (r *isc) value(s dhcpdconf.Statement, t optionType) (config.DHCPOption, bool) {
	o, words := config.DHCPOption{Code: t.code}, s.Words[2:]
	switch t.kind {
	case "ip":
		o.IP = r.addrs(s, words)
		return o, len(o.IP) > 0
	case "text":
		o.Text = words[0].Text
		return o, len(words) == 1 && o.Text != "" && strings.IndexFunc(o.Text, func(c rune) bool { return c < ' ' || c > '~' }) < 0
	case "bytes":
		if words[0].Quoted {
			o.Hex = config.HexBytes(words[0].Text)
		} else {
			for f := range strings.SplitSeq(words[0].Text, ":") {
				b, err := parseByte(f)
				if err != nil {
					return o, false
				}
				o.Hex = append(o.Hex, b)
			}
		}
		return o, len(words) == 1 && len(o.Hex) > 0
	}
	for _, w := range words {
		if w.Text == "," {
			continue
		}
		b, ok := numberBytes(w.Text, t)
		if !ok {
			return o, false
		}
		o.Hex = append(o.Hex, b...)
	}
	if t.bits == 32 && len(o.Hex) == 4 {
		n := binary.BigEndian.Uint32(o.Hex)
		o.Hex, o.Number = nil, &n
	}
	return o, true
}

// numberBytes is a number or a flag as it is sent.
func numberBytes(text string, t optionType) ([]byte, bool) {
	if t.kind == "flag" {
		switch strings.ToLower(text) {
		case "true", "on", "1":
			return []byte{1}, true
		case "false", "off", "0":
			return []byte{0}, true
		}
		return nil, false
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || n >= 1<<t.bits || n < -1<<(t.bits-1) {
		return nil, false
	}
	return binary.BigEndian.AppendUint64(nil, uint64(n))[8-t.bits/8:], true
}

func parseByte(text string) (byte, error) {
	n, err := strconv.ParseUint(text, 16, 8)
	return byte(n), err
}

func (r *isc) host(s dhcpdconf.Statement) {
	res := reservation{at: fmt.Sprintf("%s line %d", s.File, s.Line)}
	var all []netip.Addr
	named := false
	for _, b := range s.Block {
		switch {
		case b.Nested:
			r.noteAll(b, "of a host is not taken over")
		case b.Word(0) == "hardware" && b.Word(1) == "ethernet":
			var text strings.Builder
			for _, w := range b.Words[2:] {
				text.WriteString(w.Text)
			}
			mac, ok := parseMAC(text.String())
			if !ok {
				r.note(b, "is no MAC address of a device")
				continue
			}
			res.MAC = mac
			r.take(b)
		case b.Word(0) == "fixed-address":
			named = true
			all = append(all, r.addrs(b, b.Words[1:])...)
			r.take(b)
		case b.Word(0) == "option" && b.Word(1) == "host-name" && validHostname(b.Text(2)):
			res.Hostname = b.Text(2)
			r.take(b)
		default:
			r.note(b, "of a host is not taken over")
		}
	}
	if res.Hostname == "" && validHostname(s.Text(1)) {
		res.Hostname = s.Text(1)
	}
	r.take(s)
	switch {
	case res.MAC == nil:
		r.note(s, "is not taken over: it has no MAC address")
	case len(all) == 0 && named:
		r.note(s, "is not taken over: its address is not known")
	case len(all) == 0:
		r.note(s, "is not taken over: it has no fixed address")
	default:
		i := slices.IndexFunc(all, func(a netip.Addr) bool {
			return slices.ContainsFunc(r.own, func(p netip.Prefix) bool { return p.Contains(a) })
		})
		res.IP = all[max(0, i)]
		r.hosts = append(r.hosts, res)
		for _, a := range all {
			if a != res.IP {
				r.note(s, "its address %v is not taken over: it has %v", a, res.IP)
			}
		}
	}
}
