package dhcpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
	// receiveBuffer holds the first messages of several thousand clients that get
	// power at the same instant. What overflows it is repeated seconds later.
	receiveBuffer = 16 << 20
	batchSize     = 64
	maxDatagram   = 2048
)

// link is the server's sockets on its interface.
type link struct {
	ifi *net.Interface
	udp *net.UDPConn
	ip4 *ipv4.PacketConn
	raw *packet.Conn // for clients that have no address yet; receives nothing
	src netip.Addr
}

func openLink(ctx context.Context, name string, src netip.Addr) (*link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("dhcpd: interface %s: %w", name, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return prepareSocket(c, name) }}
	pc, err := lc.ListenPacket(ctx, "udp4", ":67")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("dhcpd: another program holds UDP port 67 on %s: stop it (systemctl disable --now isc-dhcp-server dnsmasq kea-dhcp4-server)", name)
	}
	if err != nil {
		return nil, fmt.Errorf("dhcpd: listen: %w", err)
	}
	l := &link{ifi: ifi, udp: pc.(*net.UDPConn), src: src}
	l.ip4 = ipv4.NewPacketConn(l.udp)
	if l.raw, err = packet.Listen(ifi, packet.Raw, 0, nil); err != nil {
		_ = l.udp.Close()
		return nil, fmt.Errorf("dhcpd: packet socket on %s: %w", name, err)
	}
	return l, nil
}

func prepareSocket(c syscall.RawConn, ifname string) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		s := int(fd)
		// The address alone may be shared with a server on another interface, the
		// interface may not: no SO_REUSEPORT, so that a second server is noticed.
		err = errors.Join(
			unix.BindToDevice(s, ifname),
			unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		)
		if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
		}
	})
	return errors.Join(cerr, err)
}

func (l *link) close() error { return errors.Join(l.udp.Close(), l.raw.Close()) }

// send sends a reply where RFC 2131 4.1 says.
func (l *link) send(m *dhcpv4.DHCPv4) error {
	payload, err := encode(m)
	if err != nil {
		return err
	}
	nak := m.MessageType() == dhcpv4.MessageTypeNak
	switch {
	case !isZero(m.GatewayIPAddr):
		return l.sendUDP(payload, m.GatewayIPAddr, serverPort)
	case nak:
		return l.sendUDP(payload, net.IPv4bcast, clientPort)
	case !isZero(m.ClientIPAddr):
		return l.sendUDP(payload, m.ClientIPAddr, clientPort)
	case m.IsBroadcast() || isZero(m.YourIPAddr):
		return l.sendUDP(payload, net.IPv4bcast, clientPort)
	}
	return l.sendFrame(payload, m.ClientHWAddr, m.YourIPAddr)
}

func isZero(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }

func (l *link) sendUDP(payload []byte, to net.IP, port int) error {
	_, err := l.ip4.WriteTo(payload, &ipv4.ControlMessage{IfIndex: l.ifi.Index, Src: l.src.AsSlice()}, &net.UDPAddr{IP: to, Port: port})
	return err
}

// sendFrame reaches a client by its hardware address: it does not answer ARP for
// an address that it does not have yet. A frame of our own also spares the
// kernel's neighbour table, which holds 1,024 entries by default.
func (l *link) sendFrame(payload []byte, hw net.HardwareAddr, ip net.IP) error {
	f := frame(l.ifi.HardwareAddr, hw, l.src, netip.AddrFrom4([4]byte(ip.To4())), serverPort, clientPort, payload)
	_, err := l.raw.WriteTo(f, &packet.Addr{HardwareAddr: hw})
	return err
}

// encode returns the message's bytes; the library panics on addresses that are not IPv4.
func encode(m *dhcpv4.DHCPv4) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("dhcpd: encode: %v", p)
		}
	}()
	return m.ToBytes(), nil
}

// frame builds an Ethernet frame with an IPv4 UDP datagram.
func frame(srcHW, dstHW net.HardwareAddr, src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	const eth, ip, udp = 14, 20, 8
	f := make([]byte, eth+ip+udp+len(payload))
	copy(f, dstHW)
	copy(f[6:], srcHW)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)

	h := f[eth:]
	h[0] = 4<<4 | ip/4
	h[1] = 0x10 // low delay, as other servers mark it
	binary.BigEndian.PutUint16(h[2:], uint16(ip+udp+len(payload)))
	h[8], h[9] = 64, unix.IPPROTO_UDP
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(0, h[:ip]))

	u := h[ip:]
	binary.BigEndian.PutUint16(u, sport)
	binary.BigEndian.PutUint16(u[2:], dport)
	binary.BigEndian.PutUint16(u[4:], uint16(udp+len(payload)))
	copy(u[udp:], payload)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(udp+len(payload))
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum := checksum(pseudo, u)
	if sum == 0 {
		sum = 0xffff // zero would mean "no checksum" (RFC 768)
	}
	binary.BigEndian.PutUint16(u[6:], sum)
	return f
}

// checksum is the Internet checksum (RFC 1071) of b, begun with sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
