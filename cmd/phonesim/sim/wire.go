// Package sim is a fleet of simulated Yealink phones on one network card. Each
// has a MAC and an address of its own and looks to a server like a machine on the
// LAN: the package speaks Ethernet, ARP, IPv4 and UDP itself.
//
// It shares no code with the servers that it tests.
package sim

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// mac is an Ethernet address.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

var broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

const (
	ethLen = 14
	ipLen  = 20
	udpLen = 8
)

// ipv4Packet is a whole IPv4 packet.
type ipv4Packet struct {
	proto    byte
	src, dst netip.Addr
	body     []byte
	all      []byte // with its header
}

// datagram is a UDP datagram and where it came from.
type datagram struct {
	src     netip.AddrPort
	dst     netip.AddrPort
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

// ipv4Header writes the header of RFC 791 into the first bytes of p, which is a
// packet of the protocol.
func ipv4Header(p []byte, proto byte, src, dst netip.Addr) {
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[8], p[9] = 64, proto
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^sum(0, p[:ipLen]))
}

// udpPacket builds an IPv4 packet with a UDP datagram.
func udpPacket(src, dst netip.AddrPort, payload []byte) []byte {
	p := make([]byte, ipLen+udpLen+len(payload))
	ipv4Header(p, unix.IPPROTO_UDP, src.Addr(), dst.Addr())
	u := p[ipLen:]
	binary.BigEndian.PutUint16(u, src.Port())
	binary.BigEndian.PutUint16(u[2:], dst.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[udpLen:], payload)
	pseudo := sum(unix.IPPROTO_UDP+uint32(len(u)), p[12:ipLen])
	check := ^sum(uint32(pseudo), u)
	if check == 0 {
		check = 0xffff // zero says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(u[6:], check)
	return p
}

// echoReply answers a ping (RFC 792); nil if the packet is none.
func echoReply(p ipv4Packet) []byte {
	if len(p.body) < 8 || p.body[0] != 8 {
		return nil
	}
	reply := make([]byte, ipLen+len(p.body))
	ipv4Header(reply, unix.IPPROTO_ICMP, p.dst, p.src)
	icmp := reply[ipLen:]
	copy(icmp, p.body)
	copy(icmp, []byte{0, 0, 0, 0})
	binary.BigEndian.PutUint16(icmp[2:], ^sum(0, icmp))
	return reply
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

// parseIPv4 checks an IPv4 packet. What is cut off or a fragment is not taken:
// nothing that phones are sent is that large.
func parseIPv4(p []byte) (ipv4Packet, bool) {
	if len(p) < ipLen || p[0]>>4 != 4 {
		return ipv4Packet{}, false
	}
	head, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if head < ipLen || total < head || total > len(p) || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return ipv4Packet{}, false
	}
	return ipv4Packet{
		proto: p[9], src: netip.AddrFrom4([4]byte(p[12:16])), dst: netip.AddrFrom4([4]byte(p[16:20])),
		body: p[head:total], all: p[:total],
	}, true
}

// parseUDP reads a UDP datagram. The checksum is not looked at: a virtual card
// leaves it to be computed by hardware that is not there.
func parseUDP(p ipv4Packet) (d datagram, ok bool) {
	u := p.body
	if p.proto != unix.IPPROTO_UDP || len(u) < udpLen {
		return d, false
	}
	n := int(binary.BigEndian.Uint16(u[4:]))
	if n < udpLen || n > len(u) {
		return d, false
	}
	d.src = netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(u))
	d.dst = netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(u[2:]))
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
