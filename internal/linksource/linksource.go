// Package linksource tells which station on the link a request came from: the source
// MAC of the very frame that carried it.
//
// An IP address is anybody's to take, and so is an answer to ARP, or silence: a
// station that sets arp_ignore answers no question of ours. The frame of a request
// cannot be left out, and a switch that binds MACs to its ports sees to it that its
// source is true. What remains is a station that clones another's MAC.
//
// UDP sockets do not tell the frame. A Tap is a packet socket beside one; for TCP the
// kernel keeps the frame of a connection's first packet, see SaveSYN.
package linksource

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/mmsg"
)

const (
	ethLen = 14
	// snapLen holds the headers of Ethernet, IPv4 with all its options, and UDP.
	snapLen = ethLen + 60 + 8
	// receiveBuffer is what the kernel keeps between two calls of Tap.Refresh. It is
	// no smaller than the UDP socket's, which holds the same packets.
	receiveBuffer = 16 << 20
	// batchSize is how many frames one system call takes in.
	batchSize = 64
	// keep is how many senders a generation of a Tap holds.
	keep = 16 << 10
)

// MAC is the address of a station, of a kind that can be compared.
type MAC [6]byte

// HardwareAddr returns it as package net has it.
func (m MAC) HardwareAddr() net.HardwareAddr { return m[:] }

// Tap notes the source MACs of UDP datagrams for one port as they come in through one
// card. It is used by one goroutine.
//
// It sees every frame before the kernel's IP layer does. So once a datagram was read
// from its UDP socket, a Refresh brings its frame. Frames that no datagram follows
// from (a firewall drops it) are forgotten in time.
type Tap struct {
	fd   int
	in   *mmsg.Batch
	down bool // the card was set down, and no frame has come since
	// Senders seen, in two generations: the older one goes when the newer one is full.
	newer, older map[netip.AddrPort][]MAC
}

// Open opens a tap on a card. It needs CAP_NET_RAW.
func Open(ifname string, port uint16) (*Tap, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("linksource: %s: %w", ifname, err)
	}
	filter, err := bpf.Assemble(datagramsTo(port))
	if err != nil {
		return nil, fmt.Errorf("linksource: %w", err)
	}
	// Not package net, nor mdlayher/packet: their sockets wake the program at every frame.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("linksource: packet socket: %w", os.NewSyscallError("socket", err))
	}
	if err := prepare(fd, ifi.Index, filter); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("linksource: packet socket on %s: %w", ifname, err)
	}
	in := mmsg.New(batchSize)
	in.MakeRoom(snapLen)
	return &Tap{
		fd: fd, in: in,
		newer: make(map[netip.AddrPort][]MAC), older: make(map[netip.AddrPort][]MAC),
	}, nil
}

// prepare sets a packet socket up. It gets nothing before it has its filter.
func prepare(fd, ifindex int, filter []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		prog[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if err != nil {
		return os.NewSyscallError("SO_ATTACH_FILTER", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // since Linux 4.20; the filter drops them too
	// Only taps for all protocols come before the IP layer.
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}))
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

// Close closes the socket.
func (t *Tap) Close() error { return unix.Close(t.fd) }

// datagramsTo lets whole UDP datagrams for a port through that the card takes for this
// machine. A frame with a VLAN's tag belongs to another link, though its card is the
// same; VLAN 0 is a priority only.
func datagramsTo(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_HOST, SkipTrue: 14},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2}, // the tag's field may hold an old one
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0xfff, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 20, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4}, // a fragment
		bpf.LoadMemShift{Off: ethLen},
		bpf.LoadIndirect{Off: ethLen + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	}
}

// Refresh takes in the frames that have come since the last call. Its error means that
// the card is gone.
func (t *Tap) Refresh() error {
	for range keep / batchSize { // what goes on coming meanwhile is for the next call
		n, err := t.in.ReceiveNow(t.fd)
		switch {
		case errors.Is(err, unix.EAGAIN) && t.down && !t.there():
			return errors.New("linksource: the card is gone") // which the kernel does not say again
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENETDOWN) && t.there():
			t.down = true
			continue // it was set down, and its frames come again once it is up
		case err != nil:
			return fmt.Errorf("linksource: %w", os.NewSyscallError("recvmmsg", err))
		}
		t.down = false
		for i := range n {
			if from, mac, ok := parseUDP(t.in.Packet(i)); ok {
				t.note(from, mac)
			}
		}
		if n < batchSize { // those were all
			return nil
		}
	}
	return nil
}

// there reports whether the socket still belongs to its card.
func (t *Tap) there() bool {
	sa, err := unix.Getsockname(t.fd)
	ll, ok := sa.(*unix.SockaddrLinklayer)
	return err == nil && ok && ll.Ifindex > 0
}

func (t *Tap) note(from netip.AddrPort, mac MAC) {
	if len(t.newer) >= keep {
		t.newer, t.older = make(map[netip.AddrPort][]MAC), t.newer
	}
	for _, m := range t.newer[from] {
		if m == mac {
			return
		}
	}
	t.newer[from] = append(t.newer[from], mac)
}

// Take returns the stations that have sent from an address since it was asked for last;
// several if more than one did. It returns none for a datagram whose frame was lost.
func (t *Tap) Take(from netip.AddrPort) []MAC {
	macs := append(t.newer[from], t.older[from]...)
	delete(t.newer, from)
	delete(t.older, from)
	return macs
}

// parseUDP reads a frame that the filter let through.
func parseUDP(f []byte) (from netip.AddrPort, mac MAC, ok bool) {
	if len(f) < ethLen+20 {
		return from, mac, false
	}
	head := int(f[ethLen]&15) * 4
	if len(f) < ethLen+head+2 {
		return from, mac, false
	}
	addr := netip.AddrFrom4([4]byte(f[ethLen+12 : ethLen+16]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(f[ethLen+head:])), MAC(f[6:12]), true
}

// saveFromEthernet has TCP_SAVE_SYN begin with the Ethernet header (since Linux 5.10).
const saveFromEthernet = 2

// SaveSYN is for net.ListenConfig.Control: it has the kernel keep the first frame of each connection, for Station.
func SaveSYN(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = os.NewSyscallError("TCP_SAVE_SYN", unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_SAVE_SYN, saveFromEthernet))
	})
	return errors.Join(cerr, err)
}
