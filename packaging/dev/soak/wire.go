package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

const (
	etherLen = 14
	headers  = etherLen + 20 + 8
)

// port is a cable whose other end takes frames with any sender.
type port struct{ conn *packet.Conn }

// receiveBuffer is so large that what a flood pushes out of it would have been lost by a switch, too.
const receiveBuffer = 8 << 20

// openPort opens a socket for frames of one protocol.
func openPort(h *lab.Host, ifname string, protocol int) (p port, err error) {
	err = h.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		if p.conn, err = packet.Listen(ifi, packet.Raw, protocol, nil); err != nil {
			return err
		}
		raw, err := p.conn.SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		})
		return errors.Join(err, set, p.conn.SetPromiscuous(true))
	})
	return p, err
}

func (p port) send(frame []byte) error {
	if _, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		return fmt.Errorf("send a frame: %w", err)
	}
	return nil
}

// udpFrame builds a frame with a datagram. It has no UDP checksum, which IPv4 allows.
func udpFrame(from, to net.HardwareAddr, src, dst netip.AddrPort, payload []byte) []byte {
	f := make([]byte, headers, headers+len(payload))
	copy(f, to)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	h := f[etherLen:]
	h[0], h[8], h[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(h[2:], uint16(headers-etherLen+len(payload)))
	copy(h[12:], src.Addr().AsSlice())
	copy(h[16:], dst.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(h[20:], src.Port())
	binary.BigEndian.PutUint16(h[22:], dst.Port())
	binary.BigEndian.PutUint16(h[24:], uint16(8+len(payload)))
	return append(f, payload...)
}

// dhcpAnswer returns the DHCP message in a frame from port 67 to port 68, or nil.
func dhcpAnswer(f []byte) *dhcpv4.DHCPv4 {
	if len(f) < headers || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || f[etherLen] != 0x45 || f[etherLen+9] != unix.IPPROTO_UDP ||
		binary.BigEndian.Uint16(f[etherLen+20:]) != 67 || binary.BigEndian.Uint16(f[etherLen+22:]) != 68 {
		return nil
	}
	m, err := dhcpv4.FromBytes(f[headers:])
	if err != nil {
		return nil
	}
	return m
}

// arpQuestion returns the address that a frame asks for.
func arpQuestion(f []byte) (netip.Addr, bool) {
	if len(f) < etherLen+28 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_ARP || binary.BigEndian.Uint16(f[etherLen+6:]) != 1 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(f[etherLen+24:])), true
}

// arpAnswer answers a frame that arpQuestion has read in the name of mac.
func arpAnswer(question []byte, mac net.HardwareAddr) []byte {
	f := make([]byte, etherLen+28)
	copy(f, question[6:12])
	copy(f[6:], mac)
	copy(f[12:], question[12:etherLen+6])
	f[etherLen+7] = 2
	copy(f[etherLen+8:], mac)
	copy(f[etherLen+14:], question[etherLen+24:etherLen+28])
	copy(f[etherLen+18:], question[etherLen+8:etherLen+18])
	return f
}
