// Package dhcpd is a DHCPv4 server (RFC 2131) for one LAN.
//
// It answers every client of one link, gives each MAC the same address again,
// holds addresses back for the clients that are known, and has a lease on disk
// before its ACK leaves. It is silent where another server answers.
//
// A client is its MAC address (chaddr). The client identifier (option 61) is
// echoed (RFC 6842) and shown, but it is no key: a machine that boots through
// PXE and then an operating system would otherwise hold two addresses, and a
// phone is named in the configuration by the MAC on its label.
//
// The package knows nothing of phones, files or YAML.
package dhcpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Config is all that the server must know. A new one replaces it by Server.Apply.
type Config struct {
	Interface  string       // the link to serve, such as ens34
	ServerID   netip.Addr   // our address there, option 54
	Subnet     netip.Prefix // of the link; option 1 and 28 follow from it
	RangeFirst netip.Addr   // of the dynamic pool
	RangeLast  netip.Addr   // inclusive
	// LeaseTime is for known clients and reservations; at least a minute.
	LeaseTime time.Duration
	// StrangerLeaseTime is for everybody else. Zero means the shorter of
	// LeaseTime and ten minutes, or LeaseTime where no client is known at all.
	StrangerLeaseTime time.Duration
	// Known are the clients whose addresses are held back from strangers.
	Known        []net.HardwareAddr
	Reservations []Reservation
	// Relays are the relay agents that are answered; messages of others are dropped.
	Relays       []Relay
	Options      []Option       // for every client
	ClassOptions []ClassOptions // on top, by vendor class; the first match counts
	Force        bool           // serve without asking whether another server is there
	Peers        []netip.Addr   // servers of the same LAN that may answer beside us
	Disguise     *Disguise      // of one question of every search; nil: none
}

// Relay is a relay agent (RFC 1542) on the link, and the network behind it.
type Relay struct {
	Addr netip.Addr // what it writes into giaddr: its address in its clients' network
	// Subnet is its clients' network, with a pool of its own and Addr as its router.
	// Zero: the clients are of the link's own subnet and pool.
	Subnet                netip.Prefix
	RangeFirst, RangeLast netip.Addr // of Subnet, inclusive
}

// Reservation gives a client a fixed address, inside the range or not.
type Reservation struct {
	MAC      net.HardwareAddr
	Addr     netip.Addr
	Hostname string // option 12 for the client; empty: none
}

// ClassOptions are for clients whose vendor class (option 60) begins with Class,
// in any letter case. They are sent whether the client asks for them or not.
type ClassOptions struct {
	Class   string
	Options []Option
}

// Option is one DHCP option as it is on the wire (RFC 2132).
type Option struct {
	Code  uint8
	Value []byte
}

// Text returns an option that holds a string.
func Text(code uint8, s string) Option { return Option{Code: code, Value: []byte(s)} }

// Addrs returns an option that holds IPv4 addresses.
func Addrs(code uint8, addrs ...netip.Addr) Option {
	var v []byte
	for _, a := range addrs {
		v = append(v, a.AsSlice()...)
	}
	return Option{Code: code, Value: v}
}

// Uint32 returns an option that holds a number of 32 bits, such as a time in seconds.
func Uint32(code uint8, n uint32) Option {
	return Option{Code: code, Value: binary.BigEndian.AppendUint32(nil, n)}
}

// Validate returns everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("dhcpd: "+format, args...)) }
	if c.Interface == "" {
		bad("no interface named")
	}
	if !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 30 {
		bad("subnet %v is no IPv4 network with room for clients", c.Subnet)
		return errors.Join(errs...)
	}
	if !c.Subnet.Contains(c.ServerID) {
		bad("server address %v is not in %v", c.ServerID, c.Subnet)
	}
	if !c.Subnet.Contains(c.RangeFirst) || !c.Subnet.Contains(c.RangeLast) || c.RangeLast.Less(c.RangeFirst) {
		bad("range %v-%v is not a range of %v", c.RangeFirst, c.RangeLast, c.Subnet)
	}
	if c.Subnet.Bits() < 12 {
		bad("subnet %v is too large: /12 is the most", c.Subnet)
	}
	if c.LeaseTime < time.Minute {
		bad("lease time %v is under a minute", c.LeaseTime)
	}
	errs = append(errs, c.checkRelays()...)
	networks := c.networks()
	owners := make(map[netip.Addr]string)
	macs := make(map[mac]bool)
	for _, r := range c.Reservations {
		m, ok := toMAC(r.MAC)
		switch {
		case !ok:
			bad("reservation of %v: %q is no Ethernet address", r.Addr, r.MAC)
		case networkOf(networks, r.Addr) == nil || r.Addr == c.ServerID:
			bad("reservation of %v for %v: not a client's address of a network that is served", r.Addr, r.MAC)
		case owners[r.Addr] != "":
			bad("%v is reserved for both %s and %v", r.Addr, owners[r.Addr], r.MAC)
		case macs[m]:
			bad("%v has two reservations", r.MAC)
		}
		owners[r.Addr], macs[m] = r.MAC.String(), true
	}
	return errors.Join(errs...)
}

// mac is an Ethernet address as a map key.
type mac [6]byte

func (m mac) hw() net.HardwareAddr { return net.HardwareAddr(m[:]) }

func toMAC(hw net.HardwareAddr) (mac, bool) {
	if len(hw) != 6 || hw[0]&1 != 0 || [6]byte(hw) == [6]byte{} {
		return mac{}, false
	}
	return mac(hw), true
}

// plan is a Config made ready for quick answers.
type plan struct {
	Config
	nets         []*network // the link's own is the first
	relays       map[netip.Addr]*network
	known        map[mac]bool
	reserved     map[mac]Reservation
	reservedAddr map[netip.Addr]mac
	stranger     time.Duration
	sets         map[optionKey]*optionSet
}

func compile(c Config) (*plan, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &plan{
		Config:       c,
		nets:         c.networks(),
		relays:       make(map[netip.Addr]*network),
		known:        make(map[mac]bool),
		reserved:     make(map[mac]Reservation),
		reservedAddr: make(map[netip.Addr]mac),
		stranger:     c.StrangerLeaseTime,
		sets:         make(map[optionKey]*optionSet),
	}
	for _, r := range c.Relays {
		p.relays[r.Addr] = networkOf(p.nets, r.Addr)
	}
	for _, hw := range c.Known {
		if m, ok := toMAC(hw); ok {
			p.known[m] = true
		}
	}
	for _, r := range c.Reservations {
		m, _ := toMAC(r.MAC)
		p.reserved[m] = r
		p.reservedAddr[r.Addr] = m
		p.known[m] = true
	}
	if p.stranger == 0 {
		p.stranger = c.LeaseTime
		if len(p.known) > 0 {
			p.stranger = min(c.LeaseTime, 10*time.Minute)
		}
	}
	return p, nil
}

// leaseTime returns how long a client may have its address.
func (p *plan) leaseTime(m mac) time.Duration {
	if p.known[m] {
		return p.LeaseTime
	}
	return p.stranger
}

// dynamic reports whether an address is of a pool: in its network's range, and
// neither ours, a relay's, reserved, nor one that old clients take for a broadcast
// (.0 and .255).
func (p *plan) dynamic(a netip.Addr) bool {
	n := networkOf(p.nets, a)
	if n == nil || !n.inRange(toUint32(a)) || a == p.ServerID {
		return false
	}
	_, taken := p.reservedAddr[a]
	_, relay := p.relays[a]
	return !taken && !relay
}

// class returns which of ClassOptions are for a vendor class, or -1.
func (p *plan) class(name []byte) int {
	return slices.IndexFunc(p.ClassOptions, func(co ClassOptions) bool {
		return len(name) >= len(co.Class) && strings.EqualFold(string(name[:len(co.Class)]), co.Class)
	})
}

func toUint32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func toAddr(n uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}
