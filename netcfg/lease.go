package netcfg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is the WAN's lease.
type Lease struct {
	Address netip.Prefix // with the prefix length of its network
	Router  netip.Addr   // of the default route: option 121 or 3, or zero
	Routes  []Route      `json:",omitempty"` // others of option 121
	DNS     []netip.Addr // option 6
	Server  netip.Addr   // option 54
	Start   time.Time
	Renew   time.Time // T1: ask this server
	Rebind  time.Time // T2: ask any server
	Expires time.Time
}

// parseLease reads a lease out of an ACK that came at now.
func parseLease(m *dhcpv4.DHCPv4, now time.Time) (*Lease, error) {
	addr, ok := netip.AddrFromSlice(m.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() {
		return nil, fmt.Errorf("netcfg: the DHCP server gave the address %v", m.YourIPAddr)
	}
	bits, total := m.SubnetMask().Size()
	if total != 32 || bits == 0 {
		bits = 24 // no mask, or one that is none; the classes that it would follow from are long gone
	}
	life := m.IPAddressLeaseTime(time.Hour)
	if life < 30*time.Second {
		return nil, fmt.Errorf("netcfg: the DHCP server gave a lease of %v", life)
	}
	life = min(life, 10*365*24*time.Hour) // "for ever" is 2^32-1 seconds
	t1, t2 := m.IPAddressRenewalTime(life/2), m.IPAddressRebindingTime(life*7/8)
	if t1 <= 0 || t1 >= t2 || t2 >= life {
		t1, t2 = life/2, life*7/8 // RFC 2131 4.4.5
	}
	l := &Lease{
		Address: netip.PrefixFrom(addr, bits), Server: fromIP(m.ServerIdentifier()),
		Start: now, Renew: now.Add(t1), Rebind: now.Add(t2), Expires: now.Add(life),
	}
	l.Router, l.Routes = routesOf(m)
	for _, d := range m.DNS() {
		if a := fromIP(d); a.IsValid() {
			l.DNS = append(l.DNS, a)
		}
	}
	return l, nil
}

// Route is a way to a network. The zero Gateway is the link itself.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

func (r Route) String() string {
	if !r.Gateway.IsValid() {
		return r.Destination.String()
	}
	return r.Destination.String() + " via " + r.Gateway.String()
}

// maxRoutes bounds the routes of a lease: all that one option can hold, and a few.
const maxRoutes = 64

// routesOf returns the default router and the other routes that a server names.
// Option 121 stands for option 3 too when there is any (RFC 3442).
func routesOf(m *dhcpv4.DHCPv4) (router netip.Addr, routes []Route) {
	classless := m.ClasslessStaticRoute()
	if len(classless) == 0 {
		for _, r := range m.Router() {
			if a := fromIP(r); a.IsValid() {
				return a, nil
			}
		}
		return netip.Addr{}, nil
	}
	for _, r := range classless {
		bits, total := r.Dest.Mask.Size()
		to, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		via := fromIP(r.Router)
		switch {
		case total != 32 || !ok:
		case bits == 0:
			if !router.IsValid() {
				router = via
			}
		case len(routes) < maxRoutes && usable(to):
			routes = append(routes, Route{netip.PrefixFrom(to, bits).Masked(), via})
		}
	}
	return router, routes
}

// usable reports whether a route may lead to an address.
func usable(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified()
}

func fromIP(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// phase is what a client with a lease does (RFC 2131 figure 5).
type phase int

const (
	bound phase = iota
	renewing
	rebinding
	expired
)

// phase returns where the lease is at now, and when to act next.
func (l *Lease) phase(now time.Time) (p phase, next time.Time) {
	switch {
	case !now.Before(l.Expires):
		return expired, now
	case !now.Before(l.Rebind):
		return rebinding, halfway(now, l.Expires)
	case !now.Before(l.Renew):
		return renewing, halfway(now, l.Rebind)
	}
	return bound, l.Renew
}

// halfway is when a request without an answer is repeated: half of the time that
// is left, but not under a minute (RFC 2131 4.4.5).
func halfway(now, end time.Time) time.Time {
	next := now.Add(max(end.Sub(now)/2, time.Minute))
	if next.After(end) {
		return end
	}
	return next
}

const leaseFile = "wan-lease.json"

// storedLease is a lease and the card that it is for.
type storedLease struct {
	Link  string
	Lease *Lease
}

// loadLease returns the lease that the card had before a restart, if it is still
// good. What cannot be read is as good as none: there will be a new one.
func loadLease(dir, link string, now time.Time) *Lease {
	data, err := os.ReadFile(filepath.Join(dir, leaseFile))
	if err != nil {
		return nil
	}
	return readLease(data, link, now)
}

func readLease(data []byte, link string, now time.Time) *Lease {
	var s storedLease
	if json.Unmarshal(data, &s) != nil || s.Lease == nil || s.Link != link {
		return nil
	}
	l := s.Lease
	inOrder := !l.Renew.Before(l.Start) && !l.Rebind.Before(l.Renew) && !l.Expires.Before(l.Rebind)
	if !l.Address.IsValid() || !l.Address.Addr().Is4() || !inOrder || l.Start.After(now) || !now.Before(l.Expires) {
		return nil
	}
	l.Routes = slices.DeleteFunc(l.Routes, func(r Route) bool {
		return !r.Destination.IsValid() || !r.Destination.Addr().Is4() || r.Destination != r.Destination.Masked() || r.Gateway.IsValid() && !r.Gateway.Is4()
	})
	return l
}

func saveLease(dir, link string, l *Lease) error {
	if l == nil {
		err := os.Remove(filepath.Join(dir, leaseFile))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(storedLease{link, l})
	if err != nil {
		return err
	}
	return writeFile(dir, leaseFile, data)
}
