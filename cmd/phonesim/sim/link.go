package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	receiveBuffer = 32 << 20
	maxFrame      = 2048
	chaddrStart   = 28 // of the client's MAC in a DHCP message
)

// link is one network card with many hosts on it.
type link struct {
	name   string
	conn   *packet.Conn
	closed atomic.Bool
	send   func(frame []byte)

	mu     sync.RWMutex // guards the following
	byMAC  map[mac]*host
	byAddr map[netip.Addr]*host
}

// openLink needs CAP_NET_RAW.
func openLink(name string) (*link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("no network card %s: 'ip link' shows what they are called", name)
	}
	if len(ifi.HardwareAddr) != 6 || ifi.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("%s is not an Ethernet card", name)
	}
	if ifi.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("%s is down: 'ip link set %s up' first", name, name)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%s: raw packets need root or CAP_NET_RAW: use sudo", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l := newLink(func(frame []byte) {
		// A frame that the card drops is lost like any other; what asked for an answer asks again.
		_, _ = conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	})
	l.name, l.conn = name, conn
	if err := l.tune(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), conn.Close())
	}
	return l, nil
}

// newLink returns a link whose frames go to send. Only an opened one can receive.
func newLink(send func(frame []byte)) *link {
	return &link{send: send, byMAC: make(map[mac]*host), byAddr: make(map[netip.Addr]*host)}
}

// tune makes the card take frames for other MACs than its own, many at once, and
// not show us what we send ourselves.
func (l *link) tune() error {
	if err := l.conn.SetPromiscuous(true); err != nil {
		return fmt.Errorf("promiscuous mode: %w", err)
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			// Without CAP_NET_ADMIN as much as net.core.rmem_max allows.
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
		failed = errors.Join(failed, unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	})
	return errors.Join(err, failed)
}

// plug adds a host.
func (l *link) plug(m mac) *host {
	h := newHost(l, m)
	l.mu.Lock()
	l.byMAC[m] = h
	l.mu.Unlock()
	return h
}

// narrow has the kernel drop what is for none of the hosts.
func (l *link) narrow() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	program, err := bpf.Assemble(filter(l.byMAC))
	if err != nil {
		return fmt.Errorf("%s: packet filter: %w", l.name, err)
	}
	if err := l.conn.SetBPF(program); err != nil {
		return fmt.Errorf("%s: packet filter: %w", l.name, err)
	}
	return nil
}

// lost returns how many frames came faster than they were read.
func (l *link) lost() (uint32, error) {
	s, err := l.conn.Stats()
	if err != nil {
		return 0, fmt.Errorf("%s: statistics: %w", l.name, err)
	}
	return s.Drops, nil
}

func (l *link) close() error {
	l.closed.Store(true)
	return l.conn.Close()
}

// receive hands frames to their hosts until the card is closed.
func (l *link) receive() error {
	for {
		buf := make([]byte, maxFrame)
		n, _, err := l.conn.ReadFrom(buf)
		if l.closed.Load() {
			return nil
		}
		if errors.Is(err, unix.ENETDOWN) {
			return fmt.Errorf("%s went down", l.name)
		}
		if err != nil {
			return fmt.Errorf("%s: receive: %w", l.name, err)
		}
		l.deliver(buf[:n])
	}
}

// deliver hands one frame to the host that it is for.
func (l *link) deliver(f []byte) {
	if len(f) < ethLen {
		return
	}
	l.mu.RLock()
	h := l.byMAC[mac(f[:6])]
	l.mu.RUnlock()
	packet := f[ethLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_ARP:
		if a, ok := parseARP(packet); ok {
			l.arp(a, h)
		}
	case unix.ETH_P_IP:
		p, ok := parseIPv4(packet)
		if !ok {
			return
		}
		if h == nil {
			h = l.leasing(p)
		}
		if h != nil {
			h.receive(mac(f[6:12]), p)
		}
	}
}

// arp answers a request for one of our addresses, or hands a reply to its host.
func (l *link) arp(a arp, h *host) {
	l.mu.RLock()
	asked, claimed := l.byAddr[a.dst], l.byAddr[a.src]
	l.mu.RUnlock()
	if claimed != nil && claimed.mac != a.srcMAC {
		claimed.disputed(a.srcMAC)
	}
	if a.reply {
		if h != nil {
			h.learn(a.src, a.srcMAC)
		}
		return
	}
	if asked == nil {
		return
	}
	if !a.src.IsUnspecified() { // a probe comes from nowhere
		asked.learn(a.src, a.srcMAC)
	}
	reply := arp{reply: true, srcMAC: asked.mac, src: a.dst, dstMAC: a.srcMAC, dst: a.src}
	l.send(ethernet(a.srcMAC, asked.mac, unix.ETH_P_ARP, reply.packet()))
}

// leasing returns the host that a broadcast DHCP answer is for.
func (l *link) leasing(p ipv4Packet) *host {
	d, ok := parseUDP(p)
	if !ok || d.dst.Port() != clientPort || len(d.payload) < chaddrStart+6 {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byMAC[mac(d.payload[chaddrStart:])]
}

// occupy notes whose address it is. It fails if another of the hosts has it.
func (l *link) occupy(addr netip.Addr, h *host) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.byAddr[addr]; other != nil && other != h {
		return fmt.Errorf("the DHCP server gave %v to %v and to %v", addr, other.mac, h.mac)
	}
	l.byAddr[addr] = h
	return nil
}

// vacate frees the address for another host.
func (l *link) vacate(addr netip.Addr, h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddr[addr] == h {
		delete(l.byAddr, addr)
	}
}
