package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func parseDuration(text string) (time.Duration, *fault) {
	bad := faultf("write a number and a unit: 12h, 30m, 45s or 7d", "%q is not a duration", text)
	if _, err := strconv.ParseUint(text, 10, 64); err == nil && text != "0" {
		return 0, faultf("write "+text+"s for seconds, or for instance 12h", "%q has no unit", text)
	}
	total := time.Duration(0)
	if days, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		total = time.Duration(n) * 24 * time.Hour
		if text = rest; text == "" {
			return total, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d%time.Second != 0 || total+d < total {
		return 0, bad
	}
	return total + d, nil
}

// formatDuration writes 12h, not 12h0m0s, and whole days as 7d.
func formatDuration(d time.Duration) string {
	if d != 0 && d%(24*time.Hour) == 0 && d > 24*time.Hour && d < 1<<16*24*time.Hour {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// bounds splits "A-B" and forgives blanks around the dash.
func bounds(text string) (first, last string, ok bool) {
	first, last, ok = strings.Cut(text, "-")
	return strings.TrimSpace(first), strings.TrimSpace(last), ok
}

func parseAddrRange(text string) (AddrRange, *fault) {
	bad := faultf("write the first address, a dash and the last: 192.168.1.10-192.168.1.100", "%q is not a range of addresses", text)
	first, last, ok := bounds(text)
	if !ok {
		return AddrRange{}, bad
	}
	a, err := netip.ParseAddr(first)
	if err != nil || !a.Is4() {
		return AddrRange{}, bad
	}
	if n, err := strconv.ParseUint(last, 10, 8); err == nil {
		b := a.As4()
		b[3] = byte(n)
		full := AddrRange{a, netip.AddrFrom4(b)}
		return AddrRange{}, faultf("write "+full.String(), "%q ends in a number, not an address", text)
	}
	b, err := netip.ParseAddr(last)
	if err != nil || !b.Is4() {
		return AddrRange{}, bad
	}
	if b.Less(a) {
		return AddrRange{}, faultf("write "+AddrRange{b, a}.String(), "%q is the wrong way round", text)
	}
	return AddrRange{a, b}, nil
}

func parsePort(text string) (uint16, bool) {
	p, err := strconv.ParseUint(text, 10, 16)
	return uint16(p), err == nil && p > 0
}

func parsePortRange(text string) (PortRange, *fault) {
	first, last, isRange := bounds(text)
	if !isRange {
		last = first
	}
	a, ok1 := parsePort(first)
	b, ok2 := parsePort(last)
	switch {
	case !ok1 || !ok2:
		return PortRange{}, faultf("write the first port, a dash and the last, from 1 to 65535: 10100-19999", "%q is not a range of ports", text)
	case b < a:
		return PortRange{}, faultf("write "+PortRange{b, a}.String(), "%q is the wrong way round", text)
	}
	return PortRange{a, b}, nil
}

var numberShape = regexp.MustCompile(`^[0-9]{2,15}$`)

func parseNumberRange(text string) (NumberRange, *fault) {
	first, last, ok := bounds(text)
	switch {
	case !ok || !numberShape.MatchString(first) || !numberShape.MatchString(last):
		return NumberRange{}, faultf("write the first number, a dash and the last: 200-249", "%q is not a range of extension numbers", text)
	case len(first) != len(last):
		return NumberRange{}, faultf("write both with the same count of digits", "%q mixes numbers of different length", text)
	case last < first:
		return NumberRange{}, faultf("write "+last+"-"+first, "%q is the wrong way round", text)
	}
	return NumberRange{first, last}, nil
}

func parseBandwidth(text string) (Bandwidth, *fault) {
	for _, u := range bandwidthUnits {
		digits, ok := strings.CutSuffix(strings.ToLower(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
		if err != nil || n == 0 || n > 1e12/u.factor {
			break
		}
		return Bandwidth(n * u.factor), nil
	}
	return 0, faultf("write a whole number and a unit: 800kbit, 20mbit or 1gbit", "%q is not a rate", text)
}

func parseTimeOfDay(text string) (TimeOfDay, bool) {
	t, err := time.Parse("15:04", text)
	return TimeOfDay(t.Hour()*60 + t.Minute()), err == nil
}

func parseTimeWindow(text string) (TimeWindow, *fault) {
	if text == "off" || text == "false" {
		return TimeWindow{Off: true}, nil
	}
	first, last, isRange := bounds(text)
	a, ok1 := parseTimeOfDay(first)
	b, ok2 := parseTimeOfDay(last)
	switch {
	case ok1 && !isRange:
		return TimeWindow{}, faultf("write "+TimeWindow{Start: a, End: (a + 60) % (24 * 60)}.String(), "%q has no end", text)
	case !ok1 || !ok2:
		return TimeWindow{}, faultf("write two times with a dash: 02:00-04:00, or off", "%q is not a time window", text)
	case a == b:
		return TimeWindow{}, faultf("write two different times", "%q begins and ends at the same time", text)
	}
	return TimeWindow{Start: a, End: b}, nil
}

// services are the names that firewall.wan_allow knows.
var services = []string{"ssh", "sip", "sips", "rtp", "http", "https", "jitsi", "nextcloud"}

func parseService(text string) (Service, *fault) {
	for _, s := range services {
		if text == s {
			return Service{Name: s}, nil
		}
	}
	ports, proto, ok := strings.Cut(text, "/")
	if !ok {
		if c, near := closest(text, services); near {
			return Service{}, faultf("did you mean "+c+"?", "%q is not a known service", text)
		}
		if _, isPort := parsePort(text); isPort {
			return Service{}, faultf("write "+text+"/tcp or "+text+"/udp", "%q has no protocol", text)
		}
		return Service{}, faultf("write "+oneOf(services)+", or a port such as 2222/tcp", "%q is not a known service", text)
	}
	if ports == "tcp" || ports == "udp" {
		return Service{}, faultf("write "+proto+"/"+ports, "%q is the wrong way round", text)
	}
	r, f := parsePortRange(ports)
	if f != nil {
		return Service{}, f
	}
	if proto != "tcp" && proto != "udp" {
		return Service{}, faultf("write "+ports+"/tcp or "+ports+"/udp", "%q is not a protocol with ports", proto)
	}
	return Service{Protocol: proto, Ports: r}, nil
}

var hostShape = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// isHostName checks RFC 1123 section 2.1, and that it is no broken address.
func isHostName(text string) bool {
	return len(text) <= 253 && hostShape.MatchString(text) && strings.Trim(text, "0123456789.") != ""
}

func parseSource(text string) (Source, *fault) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !a.Is4In6() {
		return Source{Prefix: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() {
		if p != p.Masked() {
			return Source{}, faultf("write "+p.Masked().String()+" for the network or "+p.Addr().String()+" for the address", "%q is an address inside a network", text)
		}
		return Source{Prefix: p}, nil
	}
	if isHostName(text) {
		return Source{Host: strings.ToLower(text)}, nil
	}
	return Source{}, faultf("write an address, a network such as 203.0.113.0/24, or a host name", "%q is none of address, network and host name", text)
}
