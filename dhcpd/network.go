package dhcpd

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// network is a subnet whose clients are served: the link's own, or one behind a relay.
type network struct {
	index       int // among the plan's
	subnet      netip.Prefix
	first, last uint32     // of its pool
	router      netip.Addr // the relay, where the network is behind one
}

// networks returns the link's own network and those behind relays.
func (c Config) networks() []*network {
	nets := []*network{{subnet: c.Subnet.Masked(), first: toUint32(c.RangeFirst), last: toUint32(c.RangeLast)}}
	for _, r := range c.Relays {
		if r.Subnet.IsValid() && r.Subnet.Masked() != c.Subnet.Masked() {
			nets = append(nets, &network{
				index: len(nets), subnet: r.Subnet.Masked(),
				first: toUint32(r.RangeFirst), last: toUint32(r.RangeLast), router: r.Addr,
			})
		}
	}
	return nets
}

// checkRelays returns what is wrong with the relays.
func (c Config) checkRelays() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dhcpd: "+format, args...)) }
	seen := make(map[netip.Addr]bool)
	subnets := []netip.Prefix{c.Subnet}
	for _, r := range c.Relays {
		own := !r.Subnet.IsValid() || r.Subnet.Masked() == c.Subnet.Masked()
		switch {
		case !r.Addr.Is4() || seen[r.Addr] || r.Addr == c.ServerID:
			bad("relay %v: not an address of one relay", r.Addr)
		case own && !c.Subnet.Contains(r.Addr):
			bad("relay %v: name its clients' subnet, for it is not in %v", r.Addr, c.Subnet)
		case own:
		case !r.Subnet.Addr().Is4() || r.Subnet.Bits() > 30 || r.Subnet.Bits() < 12 || !r.Subnet.Contains(r.Addr):
			bad("relay %v: subnet %v is no network of it with room for clients", r.Addr, r.Subnet)
		case !r.Subnet.Contains(r.RangeFirst) || !r.Subnet.Contains(r.RangeLast) || r.RangeLast.Less(r.RangeFirst):
			bad("relay %v: range %v-%v is not a range of %v", r.Addr, r.RangeFirst, r.RangeLast, r.Subnet)
		default:
			for _, s := range subnets {
				if s.Overlaps(r.Subnet) {
					bad("relay %v: subnet %v overlaps %v", r.Addr, r.Subnet, s)
				}
			}
			subnets = append(subnets, r.Subnet)
		}
		seen[r.Addr] = true
	}
	return errs
}

// networkOf returns the network that an address is of, or nil.
func networkOf(nets []*network, a netip.Addr) *network {
	for _, n := range nets {
		if n.subnet.Contains(a) {
			return n
		}
	}
	return nil
}

// inRange reports whether an address is one of the pool's, apart from who has it.
func (n *network) inRange(a uint32) bool {
	return a >= n.first && a <= n.last && a&0xff != 0 && a&0xff != 0xff &&
		a != toUint32(n.subnet.Addr()) && a != n.broadcast()
}

// next returns the address of the range after a, the first after the last.
func (n *network) next(a uint32) uint32 {
	if a < n.first || a >= n.last {
		return n.first
	}
	return a + 1
}

func (n *network) mask() netip.Addr { return toAddr(^uint32(0) << (32 - n.subnet.Bits())) }

func (n *network) broadcast() uint32 { return toUint32(n.subnet.Addr()) | ^toUint32(n.mask()) }

// network returns where the client of a message is. The relay that brought it tells
// (RFC 2131 4.3.1; nil when that one is not configured), for a message that was
// routed its sender's address, and otherwise it is on the link.
func (p *plan) network(q *query) *network {
	if q.giaddr.IsValid() {
		return p.relays[q.giaddr]
	}
	if q.routed() {
		if n := networkOf(p.nets, q.ciaddr); n != nil {
			return n
		}
	}
	return p.nets[0]
}

// isForUs reports whether a datagram's destination is this server: broadcast, or its
// address on the link.
func (p *plan) isForUs(a netip.Addr) bool {
	return a == p.ServerID || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a == toAddr(p.nets[0].broadcast())
}

// StrayRelay is a station that passes on clients' messages and is no configured relay.
type StrayRelay struct {
	Addr netip.Addr // giaddr, what it calls itself
	MAC  net.HardwareAddr
	Seen time.Time // wall clock
}

const (
	maxStrays     = 16               // anybody can call himself a relay
	strayFor      = 10 * time.Minute // how long one is shown
	strayLogEvery = time.Minute
)

// noteStrayRelay remembers and reports a relay that is not configured: a site may
// have relied on it. The caller holds s.mu.
func (s *Server) noteStrayRelay(q query) {
	now := s.opts.Wall()
	strays := []StrayRelay{{Addr: q.giaddr, MAC: q.station.hw(), Seen: now}}
	known := false
	for _, r := range s.strays {
		switch {
		case r.Addr == q.giaddr && now.Sub(r.Seen) < time.Second:
			return
		case r.Addr == q.giaddr:
			known = true
		case now.Sub(r.Seen) < strayFor:
			strays = append(strays, r)
		}
	}
	if len(strays) > maxStrays {
		return
	}
	s.strays = strays
	if !known && now.Sub(s.strayLogged) > strayLogEvery {
		s.strayLogged = now
		s.log.Warn("messages of a DHCP relay that is not configured are dropped: if it is yours, add it to dhcp.relays", "relay", q.giaddr, "mac", q.station.hw().String())
	}
}
