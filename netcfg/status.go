package netcfg

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
)

// Status is how the network is.
type Status struct {
	WAN, LAN   LinkStatus
	Resolvers  []netip.Addr // of the WAN
	Forwarding bool
}

// LinkStatus is how one card is.
type LinkStatus struct {
	Name      string
	Method    Method
	Exists    bool
	Up        bool
	Carrier   bool
	Addresses []netip.Prefix
	Addressed bool // the address that it should have is there
	Gateway   netip.Addr
	Lease     *Lease // MethodDHCP
	Repairs   uint64 // times that something of ours was put back
	Owners    []Owner
	Problem   string // what is wrong, and what to do; empty when nothing is
}

// Status returns how the network was at the last look. It never waits for a look
// that is under way.
func (m *Manager) Status() Status {
	if st := m.status.Load(); st != nil {
		return *st
	}
	return Status{}
}

// report puts the status together and tells it when it has changed. The caller
// holds m.mu.
func (m *Manager) report(is machine) {
	st := Status{Forwarding: is.Forwarding, WAN: m.linkStatus(m.cfg.WAN, is), LAN: m.linkStatus(m.cfg.LAN, is)}
	st.Resolvers = m.resolvers()
	if reflect.DeepEqual(st, m.Status()) {
		return
	}
	m.status.Store(&st)
	if m.cfg.WAN.managed() && m.opts.ResolvConf != "" {
		if err := writeResolvers(m.opts.ResolvConf, st.Resolvers); err != nil {
			m.log.Warn("cannot hand the resolvers over", "err", err)
		}
	}
	m.opts.OnChange(st)
}

// resolvers are those of the WAN. The caller holds m.mu.
func (m *Manager) resolvers() []netip.Addr {
	switch {
	case len(m.cfg.WAN.DNS) > 0:
		return m.cfg.WAN.DNS
	case m.cfg.WAN.Method == MethodDHCP && m.lease != nil:
		return m.lease.DNS
	case m.cfg.WAN.Method == MethodExternal:
		return readResolvers(m.opts.Root)
	}
	return nil
}

func (m *Manager) linkStatus(l Link, is machine) LinkStatus {
	s, ok := is.Links[l.Name]
	st := LinkStatus{
		Name: l.Name, Method: l.Method, Exists: ok, Up: s.Up, Carrier: s.Carrier, Addresses: s.Addresses,
		Repairs: m.repairs[l.Name], Owners: m.owners[l.Name], Problem: m.problem[l.Name],
	}
	for _, r := range s.Routes {
		if r.Destination == everywhere {
			st.Gateway = r.Gateway
		}
	}
	if !st.Gateway.IsValid() && len(s.Foreign) > 0 {
		st.Gateway = s.Foreign[0]
	}
	if l.Method == MethodDHCP {
		st.Lease = m.lease
	}
	st.Addressed = addressed(l, m.lease, s.Addresses)
	switch {
	case st.Problem != "" || l.Method == MethodNone:
	case !ok:
		st.Problem = fmt.Sprintf("there is no card %s: 'ip link' shows what they are called", l.Name)
	case s.Up && !s.Carrier:
		st.Problem = "no cable, or nothing at its other end"
	case l.Method == MethodDHCP && m.lease == nil:
		st.Problem = "no lease: no DHCP server has answered yet"
	case l.Name == m.cfg.WAN.Name && !st.Gateway.IsValid() && l.Method == MethodDHCP:
		st.Problem = "no default route, so nothing on the Internet is reached: the DHCP server names no router (options 3 and 121)"
	case l.Name == m.cfg.WAN.Name && !st.Gateway.IsValid() && s.Up:
		st.Problem = "no default route, so nothing on the Internet is reached: set wan.gateway, or look at who manages the card"
	}
	return st
}

// addressed reports whether a card has the address that it should have; one that
// somebody else manages should have any.
func addressed(l Link, lease *Lease, has []netip.Prefix) bool {
	want := l.Addresses
	if l.Method == MethodDHCP && lease != nil {
		want = []netip.Prefix{lease.Address}
	}
	for _, a := range want {
		if !slices.Contains(has, a) {
			return false
		}
	}
	return len(has) > 0 && (len(want) > 0 || l.Method == MethodExternal)
}
