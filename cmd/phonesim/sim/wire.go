// Package sim is a fleet of simulated Yealink phones on one network card. Each
// has a MAC and an address of its own and looks to a server like a machine on the
// LAN: the package speaks Ethernet, ARP, IPv4 and UDP itself.
//
// It shares no code with the servers that it tests, but for the table of models.
package sim

import (
	"encoding/binary"
	"net/netip"
)

// mac is an Ethernet address.
type mac [6]byte

var broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	protoUDP = 17
	protoTCP = 6
	ethLen   = 14
	ipLen    = 20
	udpLen   = 8
)

// datagram is a UDP datagram and where it came from.
type datagram struct {
	src     netip.AddrPort
	dst     netip.AddrPort
	srcMAC  mac
	payload []byte // shares the frame's memory
}

// ethernet builds a frame around a packet.
func ethernet(dst, src mac, kind uint16, packet []byte) []byte {
	f := make([]byte, ethLen, ethLen+len(packet))
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], kind)
	return append(f, packet...)
}

// udpPacket builds an IPv4 packet with a UDP datagram.
func udpPacket(src, dst netip.AddrPort, payload []byte) []byte {
	p := make([]byte, ipLen+udpLen+len(payload))
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[8], p[9] = 64, protoUDP
	copy(p[12:], src.Addr().AsSlice())
	copy(p[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^sum(0, p[:ipLen]))
	u := p[ipLen:]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[udpLen:], payload)
	pseudo := sum(protoUDP+uint32(len(u)), p[12:ipLen])
	if c := ^sum(uint32(pseudo), u); c != 0 {
		binary.BigEndian.PutUint16(u[6:], c)
	} else {
		binary.BigEndian.PutUint16(u[6:], 0xffff)
	}
	return p
}

// sum is the one's complement sum of RFC 1071, begun with start.
func sum(start uint32, b []byte) uint16 {
	s := uint64(start)
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// parseIPv4 checks an IPv4 packet and returns its protocol and what it carries.
func parseIPv4(p []byte) (proto byte, src, dst netip.Addr, body []byte, ok bool) {
	if len(p) < ipLen || p[0]>>4 != 4 {
		return
	}
	head, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if head < ipLen || total < head || total > len(p) || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return // cut off, or a fragment: what phones are sent is never one
	}
	return p[9], netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[head:total], true
}

// parseUDP reads a UDP datagram out of an IPv4 packet.
func parseUDP(p []byte) (d datagram, ok bool) {
	proto, src, dst, u, ok := parseIPv4(p)
	if !ok || proto != protoUDP || len(u) < udpLen {
		return d, false
	}
	n := int(binary.BigEndian.Uint16(u[4:]))
	if n < udpLen || n > len(u) {
		return d, false
	}
	d.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(u))
	d.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(u[2:]))
	d.payload = u[udpLen:n]
	return d, true
}

// arp is an ARP packet for IPv4 over Ethernet (RFC 826).
type arp struct {
	reply    bool
	srcMAC   mac
	src, dst netip.Addr
	dstMAC   mac
}

func (a arp) packet() []byte {
	p := make([]byte, 28)
	copy(p, []byte{0, 1, 8, 0, 6, 4, 0, 1})
	if a.reply {
		p[7] = 2
	}
	copy(p[8:], a.srcMAC[:])
	copy(p[14:], a.src.AsSlice())
	copy(p[18:], a.dstMAC[:])
	copy(p[24:], a.dst.AsSlice())
	return p
}

func parseARP(p []byte) (a arp, ok bool) {
	if len(p) < 28 || string(p[:6]) != "\x00\x01\x08\x00\x06\x04" || p[6] != 0 || p[7] != 1 && p[7] != 2 {
		return a, false
	}
	return arp{
		reply: p[7] == 2, srcMAC: mac(p[8:14]), src: netip.AddrFrom4([4]byte(p[14:18])),
		dstMAC: mac(p[18:24]), dst: netip.AddrFrom4([4]byte(p[24:28])),
	}, true
}
