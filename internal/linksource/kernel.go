package linksource

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnknown is returned when the kernel does not know the station.
var ErrUnknown = errors.New("linksource: the station is not known")

// Station returns the station that opened a connection to a listener with SaveSYN. It
// may be asked once. It is ErrUnknown for connections of this machine itself, over
// links that are no Ethernet, and while the kernel answers a flood with SYN cookies.
func Station(conn syscall.Conn, peer netip.Addr) (MAC, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return MAC{}, fmt.Errorf("linksource: %w", err)
	}
	var syn []byte
	cerr := raw.Control(func(fd uintptr) { syn, err = savedSYN(fd) })
	if err = errors.Join(cerr, err); err != nil {
		return MAC{}, fmt.Errorf("linksource: %w", err)
	}
	mac, ok := parseSYN(syn, peer)
	if !ok {
		return MAC{}, ErrUnknown
	}
	return mac, nil
}

// savedSYN asks for the headers of a connection's first packet. Package unix reads
// socket options as text only, which ends at a zero.
func savedSYN(fd uintptr) ([]byte, error) {
	buf := make([]byte, ethLen+60+60)
	n := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_TCP, unix.TCP_SAVED_SYN,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("TCP_SAVED_SYN", errno)
	}
	return buf[:n], nil
}

// parseSYN reads the source out of an Ethernet header that is followed by IPv4 from peer.
func parseSYN(f []byte, peer netip.Addr) (MAC, bool) {
	if len(f) < ethLen+20 || f[12] != 8 || f[13] != 0 || f[ethLen]>>4 != 4 {
		return MAC{}, false
	}
	mac := MAC(f[6:12])
	return mac, netip.AddrFrom4([4]byte(f[ethLen+12:ethLen+16])) == peer.Unmap() && mac != MAC{}
}

// arpRequest is struct arpreq of arp(7).
type arpRequest struct {
	protocol unix.RawSockaddrInet4
	hardware struct {
		family uint16
		mac    MAC
		_      [8]byte
	}
	flags   int32
	netmask [16]byte
	device  [16]byte
}

// complete (ATF_COM) is an entry that has its MAC.
const complete = 2

// Neighbour returns the station that packets for an address go to: the kernel's ARP
// entry. Anybody can have put it there, so that it is no evidence of who the address
// belongs to; but where it says another MAC than is expected, an answer would go to
// somebody else. ErrUnknown means that there is no entry.
func Neighbour(ifname string, addr netip.Addr) (MAC, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return MAC{}, fmt.Errorf("linksource: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	return neighbour(uintptr(fd), ifname, addr)
}

// NeighbourBy is Neighbour for who has an IPv4 socket: it takes one system call, not three.
func NeighbourBy(c syscall.RawConn, ifname string, addr netip.Addr) (mac MAC, err error) {
	cerr := c.Control(func(fd uintptr) { mac, err = neighbour(fd, ifname, addr) })
	if cerr != nil {
		return MAC{}, fmt.Errorf("linksource: %w", cerr)
	}
	return mac, err
}

func neighbour(fd uintptr, ifname string, addr netip.Addr) (MAC, error) {
	var r arpRequest
	if !addr.Is4() || len(ifname) >= len(r.device) {
		return MAC{}, ErrUnknown
	}
	r.protocol.Family, r.protocol.Addr = unix.AF_INET, addr.As4()
	copy(r.device[:], ifname)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGARP, uintptr(unsafe.Pointer(&r)))
	switch {
	case errno == unix.ENXIO || errno == unix.ENODEV || errno == 0 && r.flags&complete == 0:
		return MAC{}, ErrUnknown
	case errno != 0:
		return MAC{}, fmt.Errorf("linksource: %w", os.NewSyscallError("SIOCGARP", errno))
	}
	return r.hardware.mac, nil
}

// TCPConn returns the TCP connection below TLS, or nil.
func TCPConn(c net.Conn) *net.TCPConn {
	for {
		switch t := c.(type) {
		case *net.TCPConn:
			return t
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return nil
		}
	}
}
