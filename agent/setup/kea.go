package setup

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
)

// keaScope is what Kea's global scope, its shared networks and its subnets have alike. The innermost one counts.
type keaScope struct {
	Lifetime     uint32           `json:"valid-lifetime"`
	Options      []keaOption      `json:"option-data"`
	Reservations []keaReservation `json:"reservations"`
	Subnets      []keaSubnet      `json:"subnet4"`
	Shared       []keaScope       `json:"shared-networks"`
	Classes      []struct {
		Name string `json:"name"`
	} `json:"client-classes"`
}

type keaSubnet struct {
	keaScope
	Subnet string `json:"subnet"`
	Pools  []struct {
		Pool string `json:"pool"`
	} `json:"pools"`
	outer []keaScope
}

type keaOption struct {
	Name string `json:"name"`
	Code uint8  `json:"code"`
	Data string `json:"data"`
}

type keaReservation struct {
	MAC      string      `json:"hw-address"`
	IP       string      `json:"ip-address"`
	Hostname string      `json:"hostname"`
	Options  []keaOption `json:"option-data"`
}

// readKea reads a kea-dhcp4.conf.
func readKea(data []byte, src Sources) (out served, notes []string, err error) {
	var file struct {
		DHCP4 keaScope `json:"Dhcp4"`
	}
	if err := json.Unmarshal(plainJSON(data), &file); err != nil {
		return served{}, nil, err
	}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	global := file.DHCP4
	subnets := withOuter(global.Subnets, global)
	for _, shared := range global.Shared {
		subnets = append(subnets, withOuter(shared.Subnets, global, shared)...)
	}
	networks := make([]netip.Prefix, len(subnets))
	for i, s := range subnets {
		if networks[i], err = netip.ParsePrefix(s.Subnet); err != nil {
			return served{}, nil, fmt.Errorf("subnet %q: %w", s.Subnet, err)
		}
	}
	chosen := pick(networks, src.Own)
	if chosen < 0 {
		return served{}, []string{"no subnet is served, so nothing of it is taken over"}, nil
	}
	for i, s := range subnets {
		if i != chosen {
			note("subnet %s is not taken over: one LAN is served, and this is not the one", s.Subnet)
		}
	}
	for _, c := range global.Classes {
		note("client class %q is not taken over", c.Name)
	}
	s := subnets[chosen]
	out.subnet = networks[chosen].Masked()
	for _, p := range s.Pools {
		if r, ok := keaPool(p.Pool); ok {
			out.ranges = append(out.ranges, r)
		} else {
			note("pool %q is not taken over", p.Pool)
		}
	}
	for _, scope := range append(s.outer, s.keaScope) {
		if scope.Lifetime > 0 {
			out.leaseTime = time.Duration(scope.Lifetime) * time.Second
		}
		for _, o := range scope.Options {
			if !o.takeOver(&out) {
				note("option %s (%d) %q is not taken over: see dhcp.options", o.Name, o.Code, o.Data)
			}
		}
		for _, r := range scope.Reservations {
			mac, ok := parseMAC(r.MAC)
			ip, err := netip.ParseAddr(r.IP)
			if !ok || err != nil {
				note("the reservation of %s %s is not taken over: it has no MAC address, or no address", r.MAC, r.IP)
				continue
			}
			if len(r.Options) > 0 {
				note("options of the reservation of %s are not taken over", r.MAC)
			}
			res := reservation{config.Reservation{MAC: mac, IP: ip}, "reservations"}
			if validHostname(r.Hostname) {
				res.Hostname = r.Hostname
			}
			out.reservations = append(out.reservations, res)
		}
	}
	return out, notes, nil
}

func withOuter(list []keaSubnet, outer ...keaScope) []keaSubnet {
	list = slices.Clone(list)
	for i := range list {
		list[i].outer = outer
	}
	return list
}

// keaPool reads "first - last" or a prefix.
func keaPool(text string) (config.AddrRange, bool) {
	first, last, ok := strings.Cut(text, "-")
	a, err1 := netip.ParseAddr(strings.TrimSpace(first))
	b, err2 := netip.ParseAddr(strings.TrimSpace(last))
	if ok && err1 == nil && err2 == nil && a.Is4() && b.Is4() && !b.Less(a) {
		return config.AddrRange{First: a, Last: b}, true
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil || !p.Addr().Is4() || p.Bits() > 30 {
		return config.AddrRange{}, false
	}
	first4, end := p.Masked().Addr(), p.Masked().Addr()
	for range 1<<(32-p.Bits()) - 1 {
		end = end.Next()
	}
	return config.AddrRange{First: first4, Last: end}, true
}

func (o keaOption) takeOver(out *served) bool {
	if o.Code == 0 {
		o.Code = standardOptions[o.Name].code
	}
	var addrs []netip.Addr
	for f := range strings.SplitSeq(o.Data, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(f))
		if err != nil || !a.Is4() {
			addrs = nil
			break
		}
		addrs = append(addrs, a)
	}
	kind := standardOptions[o.Name].kind
	switch {
	case o.Code == 0 || o.Data == "":
		return false
	case o.Code == 1 || o.Code == 28:
	case o.Code == 3 && len(addrs) > 0:
		out.gateway = addrs[0]
	case o.Code == 6 && len(addrs) > 0:
		out.dns = addrs
	case o.Code == 42 && len(addrs) > 0:
		out.ntp = addrs
	case o.Code == 15:
		out.domain = o.Data
	case o.Code == 66:
		out.url = o.Data
	case config.OwnOption(o.Code):
		return false
	default:
		x := config.DHCPOption{Code: o.Code}
		n, err := strconv.ParseUint(o.Data, 10, 32)
		switch {
		case len(addrs) > 0:
			x.IP = addrs
		case kind == "number" && err == nil && standardOptions[o.Name].bits == 32:
			v := uint32(n)
			x.Number = &v
		case kind == "text":
			x.Text = o.Data
		default:
			return false
		}
		out.options = slices.DeleteFunc(out.options, func(y config.DHCPOption) bool { return y.Code == x.Code })
		out.options = append(out.options, x)
	}
	return true
}

// plainJSON removes what Kea allows beside JSON: comments, and commas before a closing bracket.
func plainJSON(data []byte) []byte {
	var out []byte
	for i := 0; i < len(data); i++ {
		rest := string(data[i:min(len(data), i+2)])
		switch {
		case data[i] == '"':
			end := i + 1
			for end < len(data) && data[end] != '"' {
				if data[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end, len(data)-1)
			out = append(out, data[i:end+1]...)
			i = end
		case data[i] == '#' || rest == "//":
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case rest == "/*":
			end := strings.Index(string(data[i+2:]), "*/")
			if end < 0 {
				return out
			}
			i += 2 + end + 1
		case data[i] == ']' || data[i] == '}':
			for len(out) > 0 && strings.IndexByte(" \t\r\n", out[len(out)-1]) >= 0 {
				out = out[:len(out)-1]
			}
			if len(out) > 0 && out[len(out)-1] == ',' {
				out = out[:len(out)-1]
			}
			out = append(out, data[i])
		default:
			out = append(out, data[i])
		}
	}
	return out
}
