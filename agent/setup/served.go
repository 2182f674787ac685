package setup

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
)

// served is what another DHCP server gives to one network: what each reader makes, and takeOver takes.
type served struct {
	subnet       netip.Prefix
	ranges       []config.AddrRange
	gateway      netip.Addr
	dns, ntp     []netip.Addr
	domain       string
	url          string // option 66
	leaseTime    time.Duration
	reservations []reservation
	options      []config.DHCPOption
}

// reservation is one, and where it stands.
type reservation struct {
	config.Reservation
	at string // for notes
}

// holdsOwn reports whether the network is one that a card of this machine is in.
func holdsOwn(p netip.Prefix, own []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(own, func(o netip.Prefix) bool { return p.Contains(o.Addr()) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(own[i].Addr(), p.Bits()), true
}

// pick returns the network that the LAN's card is in, or else the first; -1 for none.
func pick(networks []netip.Prefix, own []netip.Prefix) int {
	if i := slices.IndexFunc(networks, func(p netip.Prefix) bool { _, ok := holdsOwn(p, own); return ok }); i >= 0 || len(networks) == 0 {
		return i
	}
	return 0
}

// takeOver makes the configuration serve the same. The LAN's address is the card's own one; only where it has none in that
// network is it the router that clients were told of.
func (s served) takeOver(c *config.Config, source string, own []netip.Prefix) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, source+": "+fmt.Sprintf(format, args...)) }
	c.DHCP.Enabled = true // here is the LAN's server already
	if lan, ok := holdsOwn(s.subnet, own); ok {
		c.LAN.Address = lan
	} else if !s.subnet.Contains(c.LAN.Address.Addr()) {
		router := s.gateway
		if !router.IsValid() || !s.subnet.Contains(router) {
			router = s.subnet.Addr().Next()
		}
		c.LAN.Address = netip.PrefixFrom(router, s.subnet.Bits())
		note("lan.address is taken to be %v, the network's router: no card has an address there. Change it if this machine has another", c.LAN.Address)
	}
	c.DHCP.Range = config.AddrRange{}
	for _, r := range s.ranges {
		switch {
		case c.DHCP.Range.IsZero():
			c.DHCP.Range = r
		case c.DHCP.Range.Last.Next() == r.First:
			c.DHCP.Range.Last = r.Last
		default:
			note("the range %v is not taken over: one range is served, %v", r, c.DHCP.Range)
		}
	}
	if c.DHCP.Range.IsZero() {
		c.DHCP.Range = rangeOf(c.LAN.Address)
		note("there is no range: %v is taken", c.DHCP.Range)
	}
	c.DHCP.Gateway, c.DHCP.DNS, c.DHCP.NTP, c.DHCP.Domain = s.gateway, s.dns, s.ntp, s.domain
	if c.DHCP.Gateway == c.LAN.Address.Addr() {
		c.DHCP.Gateway = netip.Addr{} // the default
	}
	switch {
	case s.leaseTime >= 2*time.Minute:
		c.DHCP.LeaseTime = s.leaseTime
	case s.leaseTime > 0:
		note("a lease time of %v is not taken over: two minutes is the least", s.leaseTime)
	}
	if c.Provisioning.URL = cmp.Or(s.url, c.Provisioning.URL); s.url != "" && !strings.Contains(s.url, "://") {
		c.Provisioning.URL = "tftp://" + s.url
	}
	if c.Provisioning.URL == "tftp://"+c.LAN.Address.Addr().String() {
		c.Provisioning.URL = ""
	}
	c.DHCP.Options = s.options
	c.DHCP.Reservations = nil
	for _, r := range s.reservations {
		if why := r.conflict(c.DHCP.Reservations, s.subnet, c.LAN.Address.Addr()); why != "" {
			notes = append(notes, fmt.Sprintf("%s: %v at %v is not taken over: %s", r.at, r.MAC, r.IP, why))
			continue
		}
		c.DHCP.Reservations = append(c.DHCP.Reservations, r.Reservation)
	}
	return notes
}

// conflict says why a reservation cannot stand beside those before it; empty when it can.
func (r *reservation) conflict(others []config.Reservation, subnet netip.Prefix, lan netip.Addr) string {
	switch {
	case !subnet.Contains(r.IP):
		return "its address is in another network"
	case r.IP == lan:
		return "its address is this machine's"
	}
	for _, o := range others {
		switch {
		case bytes.Equal(o.MAC, r.MAC):
			return "it has an address already, " + o.IP.String()
		case o.IP == r.IP:
			return o.MAC.String() + " has that address already"
		case o.Hostname != "" && o.Hostname == r.Hostname:
			r.Hostname = "" // its address matters more
		}
	}
	return ""
}

// parseMAC reads a MAC address whose bytes may have one digit.
func parseMAC(text string) (net.HardwareAddr, bool) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ':' || r == '-' })
	var mac net.HardwareAddr
	for _, f := range fields {
		b, err := parseByte(f)
		if err != nil {
			return nil, false
		}
		mac = append(mac, b)
	}
	return mac, len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

func validHostname(s string) bool {
	return s != "" && len(s) < 64 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-")
}
