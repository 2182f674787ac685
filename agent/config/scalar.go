package config

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// scalarTypes are written as one value, though Go sees more in some of them.
var scalarTypes = map[reflect.Type]string{
	reflect.TypeFor[string]():           "a text",
	reflect.TypeFor[Secret]():           "a text in quotes",
	reflect.TypeFor[bool]():             "true or false",
	reflect.TypeFor[int]():              "a number",
	reflect.TypeFor[uint8]():            "a number",
	reflect.TypeFor[uint16]():           "a number",
	reflect.TypeFor[*uint32]():          "a number",
	reflect.TypeFor[net.HardwareAddr](): "a MAC address such as 00:15:65:12:34:56",
	reflect.TypeFor[netip.Addr]():       "an IP address such as 192.168.1.1",
	reflect.TypeFor[netip.Prefix]():     "an address with prefix length such as 192.168.1.1/24",
	reflect.TypeFor[netip.AddrPort]():   "an address and port such as 192.168.1.1:9303",
	reflect.TypeFor[time.Duration]():    "a duration such as 12h or 30m",
	reflect.TypeFor[time.Time]():        "a time such as 2026-09-01T18:00:00+02:00",
	reflect.TypeFor[AddrRange]():        "a range such as 192.168.1.10-192.168.1.100",
	reflect.TypeFor[PortRange]():        "a port range such as 10100-19999",
	reflect.TypeFor[NumberRange]():      "a range of numbers such as 200-249",
	reflect.TypeFor[Bandwidth]():        "a rate such as 20mbit",
	reflect.TypeFor[TimeWindow]():       "a time window such as 02:00-04:00, or off",
	reflect.TypeFor[Service]():          "a service such as ssh or 2222/tcp",
	reflect.TypeFor[Language]():         "a language such as fr or French",
	reflect.TypeFor[Source]():           "an address, network or host name such as 203.0.113.0/24",
	reflect.TypeFor[HexBytes]():         "hexadecimal bytes such as 01:04:c0",
}

func isScalar(t reflect.Type) bool {
	_, ok := scalarTypes[t]
	return ok || t.Kind() == reflect.String
}

// expected says what a value of type t looks like.
func expected(t reflect.Type) string {
	if e, ok := reflect.Zero(t).Interface().(enum); ok {
		return oneOf(e.values())
	}
	return scalarTypes[t]
}

func oneOf(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

// parseScalar sets v from a scalar node.
func parseScalar(v reflect.Value, n *yaml.Node, raw bool) *fault {
	text := n.Value
	if f := printable(text); f != nil {
		return f
	}
	if e, ok := v.Interface().(enum); ok {
		return parseEnum(v, e.values(), text)
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
		return needQuotes(n, raw)
	case *Secret:
		*p = Secret(text)
		if f := needQuotes(n, false); f != nil {
			return &fault{f.problem, "put it in quotes"} // without repeating it
		}
		return nil
	case *bool:
		return parseBool(p, text)
	case *int:
		return parseNumber(text, func(i uint64) bool { *p = int(i); return i <= 1<<31-1 })
	case *uint8:
		return parseNumber(text, func(i uint64) bool { *p = uint8(i); return i <= 1<<8-1 })
	case *uint16:
		return parseNumber(text, func(i uint64) bool { *p = uint16(i); return i <= 1<<16-1 })
	case **uint32:
		return parseNumber(text, func(i uint64) bool { u := uint32(i); *p = &u; return i <= 1<<32-1 })
	case *net.HardwareAddr:
		return set(p, text, parseMAC)
	case *netip.Addr:
		return set(p, text, parseAddr)
	case *netip.Prefix:
		return set(p, text, parsePrefix)
	case *netip.AddrPort:
		return set(p, text, parseAddrPort)
	case *time.Duration:
		return set(p, text, parseDuration)
	case *time.Time:
		return set(p, text, parseTime)
	case *AddrRange:
		return set(p, text, parseAddrRange)
	case *PortRange:
		return set(p, text, parsePortRange)
	case *NumberRange:
		return set(p, text, parseNumberRange)
	case *Bandwidth:
		return set(p, text, parseBandwidth)
	case *TimeWindow:
		return set(p, text, parseTimeWindow)
	case *Service:
		return set(p, text, parseService)
	case *Language:
		return set(p, text, parseLanguage)
	case *Source:
		return set(p, text, parseSource)
	case *HexBytes:
		return set(p, text, parseHex)
	}
	panic("config: no parser for " + v.Type().String()) // a test visits every type
}

func set[T any](p *T, text string, parse func(string) (T, *fault)) *fault {
	value, f := parse(text)
	if f == nil {
		*p = value
	}
	return f
}

// printable refuses characters that could end a line of a file that the value is
// written to, or hide in it.
func printable(text string) *fault {
	at := 0
	for _, r := range text {
		at++
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
			return faultf("remove it", "has the control character %U at position %d", r, at)
		}
	}
	return nil
}

// needQuotes refuses what YAML reads as a number or the like where a text is
// wanted: 007 or 1e3 would not mean the same to every program.
func needQuotes(n *yaml.Node, raw bool) *fault {
	if raw || n.Tag == "!!str" {
		return nil
	}
	return faultf("put it in quotes: \""+n.Value+"\"", "is %s for YAML, not a text", map[string]string{
		"!!int": "a number", "!!float": "a number", "!!bool": "a truth value", "!!timestamp": "a date",
	}[n.Tag])
}

func parseEnum(v reflect.Value, values []string, text string) *fault {
	for _, known := range values {
		if text == known {
			v.SetString(text)
			return nil
		}
	}
	if c, ok := closest(text, values); ok {
		return faultf("did you mean "+c+"?", "%q is not one of %s", text, oneOf(values))
	}
	return faultf("write "+oneOf(values), "%q is not known", text)
}

func parseBool(p *bool, text string) *fault {
	switch strings.ToLower(text) {
	case "true":
		*p = true
		return nil
	case "false":
		*p = false
		return nil
	case "yes", "on", "y", "1":
		return faultf("write true", "%q is not true or false", text)
	case "no", "off", "n", "0":
		return faultf("write false", "%q is not true or false", text)
	}
	return faultf("write true or false", "%q is not true or false", text)
}

func parseNumber(text string, store func(uint64) bool) *fault {
	i, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return faultf("write digits only", "%q is not a whole number", text)
	}
	if !store(i) {
		return faultf("write a smaller number", "%s is too large", text)
	}
	return nil
}

func parseMAC(text string) (net.HardwareAddr, *fault) {
	digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(text)
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != 6 || !macShape(text) {
		return nil, faultf("write six pairs of hexadecimal digits, as on the phone's label: 00:15:65:12:34:56",
			"%q is not a MAC address", text)
	}
	mac := net.HardwareAddr(b)
	switch {
	case digits == "000000000000":
		return nil, faultf("write the address on the device's label", "%s is nobody's address", mac)
	case mac[0]&1 != 0:
		return nil, faultf("write the address on the device's label", "%s is a group address (multicast), not a device's", mac)
	}
	return mac, nil
}

// macShape accepts 00:15:65:12:34:56, 00-15-65-12-34-56, 0015.6512.3456 and 001565123456.
func macShape(text string) bool {
	every := func(step int, sep byte) bool {
		for i := range len(text) {
			if (i%(step+1) == step) != (text[i] == sep) {
				return false
			}
		}
		return true
	}
	switch len(text) {
	case 17:
		return every(2, ':') || every(2, '-')
	case 14:
		return every(4, '.')
	}
	return len(text) == 12
}

func parseAddr(text string) (netip.Addr, *fault) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		if p, err := netip.ParsePrefix(text); err == nil {
			return netip.Addr{}, faultf("write "+p.Addr().String(), "%q has a prefix length, which does not belong here", text)
		}
		return netip.Addr{}, faultf("write four numbers from 0 to 255 with dots, such as 192.168.1.1", "%q is not an IP address", text)
	}
	return a, nil
}

func parsePrefix(text string) (netip.Prefix, *fault) {
	p, err := netip.ParsePrefix(text)
	if err == nil && !p.Addr().Is4In6() {
		return p, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return netip.Prefix{}, faultf("write "+text+"/24 when the netmask is 255.255.255.0", "%q has no prefix length", text)
	}
	return netip.Prefix{}, faultf("write an address, a slash and the prefix length, such as 192.168.1.1/24", "%q is not an address with prefix length", text)
}

func parseAddrPort(text string) (netip.AddrPort, *fault) {
	ap, err := netip.ParseAddrPort(text)
	if err == nil && ap.Port() != 0 && ap.Addr().Zone() == "" && !ap.Addr().Is4In6() {
		return ap, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPort{}, faultf("write "+netip.AddrPortFrom(a, 9303).String(), "%q has no port", text)
	}
	if strings.HasPrefix(text, ":") {
		return netip.AddrPort{}, faultf("write 0.0.0.0"+text+" for every address, or better the LAN address", "%q has no address", text)
	}
	return netip.AddrPort{}, faultf("write an address, a colon and a port from 1 to 65535, such as 192.168.1.1:9303", "%q is not an address and port", text)
}

func parseTime(text string) (time.Time, *fault) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, faultf("write date, T, time and the offset from UTC, such as 2026-09-01T18:00:00+02:00", "%q is not a time", text)
	}
	return t.UTC(), nil
}

func parseHex(text string) (HexBytes, *fault) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil || len(b) == 0 {
		return nil, faultf("write pairs of hexadecimal digits, such as 01:04:c0", "%q is not hexadecimal", text)
	}
	return b, nil
}

// formatScalar is the inverse of parseScalar. Secrets are masked.
func formatScalar(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case *uint32:
		if x == nil {
			return ""
		}
		return strconv.FormatUint(uint64(*x), 10)
	case time.Duration:
		return formatDuration(x)
	case time.Time:
		if x.IsZero() {
			return ""
		}
		return x.Format(time.RFC3339Nano)
	case netip.Addr:
		if !x.IsValid() {
			return ""
		}
		return x.String()
	case netip.Prefix:
		if !x.IsValid() {
			return ""
		}
		return x.String()
	default:
		return fmt.Sprint(x)
	}
}
