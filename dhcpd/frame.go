package dhcpd

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Lengths of the headers before a DHCP message.
const (
	ethLen = 14
	ipLen  = 20
	udpLen = 8
	preLen = ethLen + ipLen + udpLen
)

// broadcastMAC is every station of a link.
var broadcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// questionsOnly lets IPv4 UDP to port 67 through, unfragmented, and only frames that
// are meant for this machine: neither its own nor those of another VLAN.
var questionsOnly = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 20, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: ethLen},
	bpf.LoadIndirect{Off: ethLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort, SkipTrue: 1},
	bpf.RetConstant{Val: maxFrame},
	bpf.RetConstant{Val: 0},
}

// datagram is a UDP datagram and the frame that it came in. The frame's source is
// the one thing about a sender that an answer can be sent to without asking the LAN.
type datagram struct {
	station  mac // the frame's source
	src, dst netip.Addr
	payload  []byte // a part of the frame
}

// parseFrame reads an Ethernet frame with an IPv4 UDP datagram. The UDP checksum is
// not looked at: frames between namespaces and virtual machines have none yet, and
// the card has checked the frame's own.
func parseFrame(f []byte) (d datagram, ok bool) {
	if len(f) < preLen || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || f[ethLen]>>4 != 4 {
		return d, false
	}
	ip := f[ethLen:]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if head < ipLen || total < head+udpLen || total > len(ip) || ip[9] != unix.IPPROTO_UDP {
		return d, false
	}
	udp := ip[head:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpLen || length > len(udp) || binary.BigEndian.Uint16(udp[2:]) != serverPort {
		return d, false
	}
	return datagram{
		station: mac(f[6:12]), src: netip.AddrFrom4([4]byte(ip[12:])), dst: netip.AddrFrom4([4]byte(ip[16:])),
		payload: udp[udpLen:length],
	}, true
}

// frame builds an Ethernet frame with an IPv4 UDP datagram.
func frame(srcHW, dstHW net.HardwareAddr, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	f := make([]byte, preLen+len(payload))
	copy(f[preLen:], payload)
	sealFrame(f, mac(srcHW), mac(dstHW), src, dst, sport, dport)
	return f
}

// sealFrame writes the headers of a frame whose payload is in place.
func sealFrame(f []byte, srcHW, dstHW mac, src, dst netip.Addr, sport, dport uint16) {
	copy(f, dstHW[:])
	copy(f[6:], srcHW[:])
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)

	h := f[ethLen:]
	from, to := src.As4(), dst.As4()
	clear(h[:ipLen+udpLen])
	h[0] = 4<<4 | ipLen/4
	h[1] = 0x10 // low delay, as other servers mark it
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	h[8], h[9] = 64, unix.IPPROTO_UDP
	copy(h[12:], from[:])
	copy(h[16:], to[:])
	binary.BigEndian.PutUint16(h[10:], checksum(0, h[:ipLen]))

	u := h[ipLen:]
	binary.BigEndian.PutUint16(u, sport)
	binary.BigEndian.PutUint16(u[2:], dport)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(len(u))
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum := checksum(pseudo, u)
	if sum == 0 {
		sum = 0xffff // zero would mean "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(u[6:], sum)
}

// checksum is the Internet checksum (RFC 1071) of b, begun with sum.
func checksum(sum uint32, b []byte) uint16 {
	wide := uint64(sum)
	for ; len(b) >= 4; b = b[4:] {
		wide += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		wide += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		wide += uint64(b[0]) << 8
	}
	for wide > 0xffff {
		wide = wide>>16 + wide&0xffff
	}
	return ^uint16(wide)
}
