package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

const (
	receiveBuffer = 32 << 20
	mailbox       = 64
	arpTime       = time.Second
	arpTries      = 3
	clientPort    = 68
	maxFrame      = 2048
	chaddrStart   = 28 // of the client's MAC in a DHCP message
)

// link is one network card with many hosts on it.
type link struct {
	conn   *packet.Conn
	closed atomic.Bool

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
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%s: raw packets need root (or CAP_NET_RAW): use sudo", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := conn.SetPromiscuous(true); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: promiscuous mode: %w", name, err)
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as we may
			}
		})
	}
	return &link{conn: conn, byMAC: make(map[mac]*host), byAddr: make(map[netip.Addr]*host)}, nil
}

func (l *link) close() error {
	l.closed.Store(true)
	return l.conn.Close()
}

// plug adds a host.
func (l *link) plug(m mac) *host {
	h := &host{link: l, mac: m, in: make(map[uint16]chan datagram), neighbours: make(map[netip.Addr]mac), resolved: make(chan struct{}, 1)}
	l.mu.Lock()
	l.byMAC[m] = h
	l.mu.Unlock()
	return h
}

// receive hands frames to their hosts until the card is closed.
func (l *link) receive() error {
	for {
		buf := make([]byte, maxFrame)
		n, _, err := l.conn.ReadFrom(buf)
		if l.closed.Load() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		l.deliver(buf[:n])
	}
}

// deliver hands one frame to the host that it is for.
func (l *link) deliver(f []byte) {
	if len(f) < ethLen {
		return
	}
	dst, src := mac(f[:6]), mac(f[6:12])
	l.mu.RLock()
	h, mine := l.byMAC[dst], l.byMAC[src]
	l.mu.RUnlock()
	if mine != nil {
		return // our own frame, as it goes out
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		if a, ok := parseARP(f[ethLen:]); ok {
			l.answer(a, h)
		}
	case typeIPv4:
		if h == nil {
			h = l.leasing(f[ethLen:])
		}
		if h != nil {
			h.receive(src, f[ethLen:])
		}
	}
}

// answer replies to an ARP request for one of our addresses, or takes a reply.
func (l *link) answer(a arp, h *host) {
	if a.reply {
		if h != nil {
			h.learn(a.src, a.srcMAC)
		}
		return
	}
	l.mu.RLock()
	asked := l.byAddr[a.dst]
	l.mu.RUnlock()
	if asked == nil {
		return
	}
	asked.learn(a.src, a.srcMAC)
	reply := arp{reply: true, srcMAC: asked.mac, src: a.dst, dstMAC: a.srcMAC, dst: a.src}
	l.send(ethernet(a.srcMAC, asked.mac, typeARP, reply.packet()))
}

// leasing returns the host that a broadcast DHCP answer is for.
func (l *link) leasing(p []byte) *host {
	d, ok := parseUDP(p)
	if !ok || d.dst.Port() != clientPort || len(d.payload) < chaddrStart+6 {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byMAC[mac(d.payload[chaddrStart:])]
}

func (l *link) send(frame []byte) {
	// A frame that the card drops is lost like any other; what asked for an answer asks again.
	_, _ = l.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
}

// host is one machine on the link.
type host struct {
	link     *link
	mac      mac
	resolved chan struct{} // holds a token when a neighbour was learned

	mu         sync.Mutex // guards the following
	addr       netip.Prefix
	gateway    netip.Addr
	in         map[uint16]chan datagram
	neighbours map[netip.Addr]mac
	tcp        func(packet []byte) // takes TCP packets; nil: none are expected
}

// configure gives the host its address.
func (h *host) configure(addr netip.Prefix, gateway netip.Addr) {
	h.mu.Lock()
	h.addr, h.gateway = addr, gateway
	h.mu.Unlock()
	h.link.mu.Lock()
	h.link.byAddr[addr.Addr()] = h
	h.link.mu.Unlock()
	announce := arp{srcMAC: h.mac, src: addr.Addr(), dst: addr.Addr()}
	h.link.send(ethernet(broadcast, h.mac, typeARP, announce.packet()))
}

// listen opens a UDP port; close it after use.
func (h *host) listen(port uint16) <-chan datagram {
	c := make(chan datagram, mailbox)
	h.mu.Lock()
	h.in[port] = c
	h.mu.Unlock()
	return c
}

func (h *host) unlisten(port uint16) {
	h.mu.Lock()
	delete(h.in, port)
	h.mu.Unlock()
}

func (h *host) receive(src mac, p []byte) {
	h.mu.Lock()
	tcp := h.tcp
	h.mu.Unlock()
	if d, ok := parseUDP(p); ok {
		d.srcMAC = src
		h.mu.Lock()
		c := h.in[d.dst.Port()]
		h.mu.Unlock()
		select {
		case c <- d:
		default: // nobody listens, or not fast enough
		}
		return
	}
	if proto, _, _, _, ok := parseIPv4(p); ok && proto == protoTCP && tcp != nil {
		tcp(p)
	}
}

func (h *host) learn(a netip.Addr, m mac) {
	h.mu.Lock()
	h.neighbours[a] = m
	h.mu.Unlock()
	select {
	case h.resolved <- struct{}{}:
	default:
	}
}

// nextHop returns the MAC that packets to an address go to, by ARP if need be.
func (h *host) nextHop(ctx context.Context, to netip.Addr) (mac, error) {
	h.mu.Lock()
	self, via := h.addr, to
	if !h.addr.Contains(to) && h.gateway.IsValid() {
		via = h.gateway
	}
	m, ok := h.neighbours[via]
	h.mu.Unlock()
	for range arpTries {
		if ok {
			return m, nil
		}
		who := arp{srcMAC: h.mac, src: self.Addr(), dst: via}
		h.link.send(ethernet(broadcast, h.mac, typeARP, who.packet()))
		for timeout := time.After(arpTime); !ok; {
			select {
			case <-ctx.Done():
				return mac{}, ctx.Err()
			case <-h.resolved:
				h.mu.Lock()
				m, ok = h.neighbours[via]
				h.mu.Unlock()
				continue
			case <-timeout:
			}
			break
		}
	}
	if ok {
		return m, nil
	}
	return mac{}, fmt.Errorf("%v does not answer to ARP", via)
}

// sendUDP sends a datagram from the host's address.
func (h *host) sendUDP(ctx context.Context, port uint16, to netip.AddrPort, payload []byte) error {
	hop, err := h.nextHop(ctx, to.Addr())
	if err != nil {
		return err
	}
	h.mu.Lock()
	from := netip.AddrPortFrom(h.addr.Addr(), port)
	h.mu.Unlock()
	h.link.send(ethernet(hop, h.mac, typeIPv4, udpPacket(from, to, payload)))
	return nil
}
