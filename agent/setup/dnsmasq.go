package setup

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
)

// readDnsmasq reads a dnsmasq.conf: what it gives to the first network that the LAN's card is in.
func readDnsmasq(data []byte, src Sources) (served, []string, error) {
	r := &dnsmasq{own: src.Own}
	for line := range strings.Lines(string(data)) {
		r.line++
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) == "" {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		r.option(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return r.finish(), r.notes, nil
}

type dnsmasq struct {
	own   []netip.Prefix
	line  int
	out   served
	found []served // networks, each with its first range
	notes []string
}

func (r *dnsmasq) note(what, why string) {
	r.notes = append(r.notes, fmt.Sprintf("line %d: %s: %s", r.line, what, why))
}

func (r *dnsmasq) option(key, value string) {
	shown := strings.TrimSuffix(key+"="+value, "=")
	fields := strings.Split(value, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	switch key {
	case "dhcp-range":
		r.addrRange(shown, fields)
	case "dhcp-host":
		r.host(shown, fields)
	case "dhcp-option", "dhcp-option-force":
		r.dhcpOption(shown, fields)
	case "domain":
		if len(fields) > 1 {
			r.note(shown, "is not taken over: it holds for some addresses only")
			return
		}
		r.out.domain = value
	case "dhcp-authoritative", "enable-tftp", "bogus-priv", "domain-needed":
		// our server does so, or the resolver's business does not touch the phones
	case "tftp-root":
		r.note(shown, "is not taken over: name it with --tftp-root")
	case "conf-file", "conf-dir":
		r.note(shown, "is not read: import that file by itself")
	default:
		r.note(shown, "is not taken over")
	}
}

// addrRange reads [tag:x,|set:x,]start,end[,mask[,broadcast]][,lease time].
func (r *dnsmasq) addrRange(shown string, fields []string) {
	for len(fields) > 0 && (strings.HasPrefix(fields[0], "tag:") || strings.HasPrefix(fields[0], "set:") || strings.HasPrefix(fields[0], "interface:")) {
		fields = fields[1:]
	}
	if len(fields) < 2 {
		r.note(shown, "is not taken over: it has no end")
		return
	}
	first, err1 := netip.ParseAddr(fields[0])
	last, err2 := netip.ParseAddr(fields[1])
	if err1 != nil || err2 != nil || !first.Is4() || !last.Is4() || last.Less(first) {
		r.note(shown, "is not taken over: it is no range of IPv4 addresses")
		return
	}
	bits := 24 // where dnsmasq takes its card's
	for _, o := range r.own {
		if o.Contains(first) {
			bits = o.Bits()
		}
	}
	s := served{ranges: []config.AddrRange{{First: first, Last: last}}}
	for _, f := range fields[2:] {
		if mask := net.ParseIP(f).To4(); mask != nil {
			if n, size := net.IPMask(mask).Size(); size != 0 && n > 0 {
				bits = n
			}
		} else if d, ok := leaseTime(f); ok {
			s.leaseTime = d
		} else {
			r.note(shown, fmt.Sprintf("%q is not taken over", f))
		}
	}
	s.subnet = netip.PrefixFrom(first, bits).Masked()
	r.found = append(r.found, s)
}

// leaseTime reads 12h, 45m, 2d, 3600 or infinite.
func leaseTime(text string) (time.Duration, bool) {
	unit := time.Second
	switch {
	case text == "infinite":
		return 365 * 24 * time.Hour, true
	case strings.HasSuffix(text, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(text, "h"):
		unit = time.Hour
	case strings.HasSuffix(text, "m"):
		unit = time.Minute
	}
	n, err := strconv.ParseUint(strings.TrimRight(text, "dhms"), 10, 31)
	return min(time.Duration(n)*unit, 365*24*time.Hour), err == nil && n > 0
}

func (r *dnsmasq) host(shown string, fields []string) {
	res := reservation{at: fmt.Sprintf("line %d", r.line)}
	for _, f := range fields {
		if mac, ok := parseMAC(f); ok {
			if res.MAC != nil {
				r.note(shown, "of several MACs the first one is taken over")
				continue
			}
			res.MAC = mac
			continue
		}
		if a, err := netip.ParseAddr(f); err == nil && a.Is4() {
			res.IP = a
		} else if _, isTime := leaseTime(f); isTime || strings.HasPrefix(f, "set:") || strings.HasPrefix(f, "tag:") || strings.HasPrefix(f, "id:") || f == "ignore" {
			r.note(shown, fmt.Sprintf("%q is not taken over", f))
		} else if validHostname(f) {
			res.Hostname = f
		} else if f != "" {
			r.note(shown, fmt.Sprintf("%q is not taken over", f))
		}
	}
	if res.MAC == nil || !res.IP.IsValid() {
		r.note(shown, "is not taken over: it has no MAC address, or no address")
		return
	}
	r.out.reservations = append(r.out.reservations, res)
}

func (r *dnsmasq) dhcpOption(shown string, fields []string) {
	name := strings.TrimPrefix(fields[0], "option:")
	code, err := strconv.ParseUint(name, 10, 8)
	names := map[string]uint64{"router": 3, "dns-server": 6, "ntp-server": 42, "domain-name": 15, "tftp-server": 66, "tftp-server-address": 150, "netbios-ns": 44}
	if err != nil {
		code = names[name]
	}
	values := fields[1:]
	if code == 0 || len(values) == 0 {
		r.note(shown, "is not taken over: it holds for some clients only, or is not known")
		return
	}
	var addrs []netip.Addr
	for _, v := range values {
		if a, err := netip.ParseAddr(v); err == nil && a.Is4() && !a.IsUnspecified() { // 0.0.0.0 is dnsmasq itself
			addrs = append(addrs, a)
		}
	}
	text := strings.Trim(values[0], `"`)
	switch {
	case code == 3 && len(addrs) > 0:
		r.out.gateway = addrs[0]
	case code == 6 && len(addrs) == len(values):
		r.out.dns = addrs
	case code == 42 && len(addrs) == len(values):
		r.out.ntp = addrs
	case code == 15:
		r.out.domain = text
	case code == 66:
		r.out.url = text
	case config.OwnOption(uint8(code)) || code == 42:
		r.note(shown, "is not taken over: our server sets it itself")
	case len(addrs) == len(values):
		r.out.options = append(r.out.options, config.DHCPOption{Code: uint8(code), IP: addrs})
	case len(values) == 1:
		r.out.options = append(r.out.options, config.DHCPOption{Code: uint8(code), Text: text})
	default:
		r.note(shown, "is not taken over: see dhcp.options")
	}
}

// finish puts the network of the LAN and what holds for all together.
func (r *dnsmasq) finish() served {
	var networks []netip.Prefix
	for _, s := range r.found {
		networks = append(networks, s.subnet)
	}
	i := pick(networks, r.own)
	if i < 0 {
		r.notes = append(r.notes, "no range is served, so nothing of it is taken over")
		return served{}
	}
	r.out.subnet, r.out.leaseTime = r.found[i].subnet, r.found[i].leaseTime
	for _, s := range r.found {
		if s.subnet == r.out.subnet {
			r.out.ranges = append(r.out.ranges, s.ranges...)
		} else {
			r.notes = append(r.notes, fmt.Sprintf("the range %v is not taken over: it is of another network", s.ranges[0]))
		}
	}
	return r.out
}
