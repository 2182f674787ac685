package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// AddrRange is a range of IPv4 addresses, both ends included.
type AddrRange struct{ First, Last netip.Addr }

// IsZero reports whether the range is not set.
func (r AddrRange) IsZero() bool { return r == AddrRange{} }

// Contains reports whether a lies in the range.
func (r AddrRange) Contains(a netip.Addr) bool {
	return !r.IsZero() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Size is the number of addresses.
func (r AddrRange) Size() int {
	if r.IsZero() || r.Last.Less(r.First) {
		return 0
	}
	return int(toUint(r.Last)-toUint(r.First)) + 1
}

func (r AddrRange) String() string {
	if r.IsZero() {
		return ""
	}
	return r.First.String() + "-" + r.Last.String()
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func fromUint(u uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(u >> 24), byte(u >> 16), byte(u >> 8), byte(u)})
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	return fromUint(toUint(p.Masked().Addr()) | ^uint32(0)>>p.Bits())
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// IsZero reports whether the range is not set.
func (r PortRange) IsZero() bool { return r == PortRange{} }

func (r PortRange) String() string {
	switch {
	case r.IsZero():
		return ""
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (r PortRange) overlaps(o PortRange) bool { return r.First <= o.Last && o.First <= r.Last }

// NumberRange is a range of extension numbers, both ends included and equally long.
type NumberRange struct{ First, Last string }

// IsZero reports whether the range is not set.
func (r NumberRange) IsZero() bool { return r == NumberRange{} }

// Contains reports whether number lies in the range.
func (r NumberRange) Contains(number string) bool {
	return len(number) == len(r.First) && r.First <= number && number <= r.Last
}

func (r NumberRange) String() string {
	if r.IsZero() {
		return ""
	}
	return r.First + "-" + r.Last
}

// Bandwidth is a rate in bits per second.
type Bandwidth uint64

var bandwidthUnits = []struct {
	suffix string
	factor uint64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func (b Bandwidth) String() string {
	if b == 0 {
		return ""
	}
	for _, u := range bandwidthUnits {
		if uint64(b)%u.factor == 0 {
			return strconv.FormatUint(uint64(b)/u.factor, 10) + u.suffix
		}
	}
	return ""
}

// TimeOfDay is a wall clock time in minutes after midnight.
type TimeOfDay uint16

func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", t/60, t%60) }

// TimeWindow is a part of each day, site time. It may span midnight. Off means never.
type TimeWindow struct {
	Off        bool
	Start, End TimeOfDay
}

func (w TimeWindow) String() string {
	if w.Off {
		return "off"
	}
	return w.Start.String() + "-" + w.End.String()
}

// Service is something that the WAN may reach: a name, or a protocol and ports.
type Service struct {
	Name     string // ssh, sip, sips, rtp, http, https, jitsi, nextcloud; empty when ports are given
	Protocol string // tcp or udp; empty when a name is given
	Ports    PortRange
}

func (s Service) String() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Ports.String() + "/" + s.Protocol
}

// Source is where packets come from: a network, or a host name to be resolved.
type Source struct {
	Prefix netip.Prefix // a single address is /32 or /128
	Host   string       // empty when Prefix is set
}

func (s Source) String() string {
	switch {
	case s.Host != "":
		return s.Host
	case s.Prefix.IsSingleIP():
		return s.Prefix.Addr().String()
	}
	return s.Prefix.String()
}

// HexBytes are bytes that are written in hexadecimal.
type HexBytes []byte

func (h HexBytes) String() string {
	pairs := make([]string, len(h))
	for i, b := range h {
		pairs[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(pairs, ":")
}

// Bytes is the option's value as it goes into the packet.
func (o DHCPOption) Bytes() []byte {
	switch {
	case o.Text != "":
		return []byte(o.Text)
	case o.Number != nil:
		n := *o.Number
		return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	case len(o.Hex) > 0:
		return o.Hex
	}
	var b []byte
	for _, a := range o.IP {
		b = append(b, a.AsSlice()...)
	}
	return b
}
