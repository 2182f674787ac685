package sim

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mailbox    = 64 // datagrams that wait at a port
	arpTime    = time.Second
	arpTries   = 3
	clientPort = 68
)

// host is one machine on the link.
type host struct {
	link *link
	mac  mac

	mu         sync.Mutex // guards the following
	addr       netip.Prefix
	gateway    netip.Addr
	rival      mac // another machine that uses our address; zero: none was seen
	in         map[uint16]chan datagram
	neighbours map[netip.Addr]mac
	learned    chan struct{}       // closed and replaced when neighbours grows
	tcp        func(packet []byte) // takes TCP packets; nil: none are expected
}

func newHost(l *link, m mac) *host {
	return &host{link: l, mac: m, in: make(map[uint16]chan datagram), neighbours: make(map[netip.Addr]mac), learned: make(chan struct{})}
}

// configure gives the host its address, asks who else has it (RFC 2131 section
// 4.4.1), and says on the link that it is the host's. It does not wait for an
// answer: conflict tells later.
func (h *host) configure(addr netip.Prefix, gateway netip.Addr) error {
	if err := h.link.occupy(addr.Addr(), h); err != nil {
		return err
	}
	h.mu.Lock()
	h.addr, h.gateway = addr, gateway
	h.mu.Unlock()
	probe := arp{srcMAC: h.mac, src: netip.IPv4Unspecified(), dst: addr.Addr()}
	h.link.send(ethernet(broadcast, h.mac, unix.ETH_P_ARP, probe.packet()))
	announce := arp{srcMAC: h.mac, src: addr.Addr(), dst: addr.Addr()}
	h.link.send(ethernet(broadcast, h.mac, unix.ETH_P_ARP, announce.packet()))
	return nil
}

func (h *host) address() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr.Addr()
}

// disputed notes that another machine uses the host's address.
func (h *host) disputed(by mac) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rival = by
}

// conflict is an error if another machine uses the host's address.
func (h *host) conflict() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rival == (mac{}) {
		return nil
	}
	return fmt.Errorf("%v is in use by %v as well", h.addr.Addr(), h.rival)
}

// listen opens a UDP port; unlisten it after use.
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

// receive takes a packet that the machine src sent to the host.
func (h *host) receive(src mac, p ipv4Packet) {
	h.mu.Lock()
	own, tcp := h.addr.Addr(), h.tcp
	h.mu.Unlock()
	switch {
	case p.proto == unix.IPPROTO_UDP:
		d, ok := parseUDP(p)
		if !ok || p.dst != own && d.dst.Port() != clientPort { // DHCP comes before there is an address
			return
		}
		h.mu.Lock()
		c := h.in[d.dst.Port()]
		h.mu.Unlock()
		select {
		case c <- d:
		default: // nobody listens, or not fast enough
		}
	case p.dst != own:
	case p.proto == unix.IPPROTO_ICMP:
		if reply := echoReply(p); reply != nil {
			h.link.send(ethernet(src, h.mac, unix.ETH_P_IP, reply))
		}
	case p.proto == unix.IPPROTO_TCP && tcp != nil:
		tcp(p.all)
	}
}

// setTCP has fn take the host's TCP packets; nil drops them.
func (h *host) setTCP(fn func(packet []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tcp = fn
}

func (h *host) learn(a netip.Addr, m mac) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.neighbours[a] = m
	close(h.learned)
	h.learned = make(chan struct{})
}

// neighbour looks an address up; changed is closed when it is worth another look.
func (h *host) neighbour(a netip.Addr) (m mac, ok bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok = h.neighbours[a]
	return m, ok, h.learned
}

// via returns the address on the link that packets to an address go through.
func (h *host) via(to netip.Addr) (self, hop netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.addr.Contains(to) || !h.gateway.IsValid() {
		return h.addr.Addr(), to
	}
	return h.addr.Addr(), h.gateway
}

// nextHop returns the MAC that packets to an address go to, by ARP if need be.
func (h *host) nextHop(ctx context.Context, to netip.Addr) (mac, error) {
	self, hop := h.via(to)
	m, ok, changed := h.neighbour(hop)
	for range arpTries {
		if ok {
			return m, nil
		}
		who := arp{srcMAC: h.mac, src: self, dst: hop}
		h.link.send(ethernet(broadcast, h.mac, unix.ETH_P_ARP, who.packet()))
		for timeout, waiting := time.After(arpTime), true; waiting && !ok; {
			select {
			case <-ctx.Done():
				return mac{}, context.Cause(ctx)
			case <-timeout:
				waiting = false
			case <-changed:
				m, ok, changed = h.neighbour(hop)
			}
		}
	}
	if ok {
		return m, nil
	}
	return mac{}, fmt.Errorf("%v does not answer to ARP", hop)
}

// sendUDP sends a datagram from the host's address.
func (h *host) sendUDP(ctx context.Context, port uint16, to netip.AddrPort, payload []byte) error {
	hop, err := h.nextHop(ctx, to.Addr())
	if err != nil {
		return err
	}
	from := netip.AddrPortFrom(h.address(), port)
	h.link.send(ethernet(hop, h.mac, unix.ETH_P_IP, udpPacket(from, to, payload)))
	return nil
}
