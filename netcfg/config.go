// Package netcfg keeps two network cards as they should be: the WAN by DHCP, with
// static addresses or left to whoever manages it, and the LAN with static ones.
//
// What to do is decided by a pure function of what should be and what is (see
// makePlan); events from the kernel only make it look again. It adds before it
// deletes, deletes only what it added itself, and gives way to another manager of
// a card instead of fighting it. It knows nothing of what the cards are used for.
package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
)

// Method says who gives a card its addresses.
type Method string

// Methods. An empty Method is MethodNone.
const (
	MethodNone     Method = ""         // there is no such card
	MethodDHCP     Method = "dhcp"     // we ask for a lease
	MethodStatic   Method = "static"   // Link.Addresses
	MethodExternal Method = "external" // somebody else; we only look
)

// Config is how the cards should be.
type Config struct {
	WAN, LAN   Link
	Forwarding bool   // forward IPv4 between the cards; false leaves it as it is
	StateDir   string // what must survive a restart: the WAN lease, which addresses are ours
}

// Link is how one card should be.
type Link struct {
	Name      string
	Method    Method
	Addresses []netip.Prefix // MethodStatic: addresses with the prefix length of their network
	Gateway   netip.Addr     // MethodStatic: the default route, or zero
	DNS       []netip.Addr   // resolvers; with MethodDHCP in place of the lease's
	MTU       int            // 0 leaves it as it is
}

// managed reports whether we change anything on the card.
func (l Link) managed() bool { return l.Method == MethodDHCP || l.Method == MethodStatic }

// Validate returns everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	for _, l := range []Link{c.WAN, c.LAN} {
		switch {
		case l.Method == MethodNone:
		case l.Name == "":
			errs = append(errs, errors.New("netcfg: a card has no name"))
		case l.Method == MethodStatic && len(l.Addresses) == 0:
			errs = append(errs, fmt.Errorf("netcfg: %s has no address", l.Name))
		case l.Method != MethodDHCP && l.Method != MethodStatic && l.Method != MethodExternal:
			errs = append(errs, fmt.Errorf("netcfg: %s: no such method: %q", l.Name, l.Method))
		}
	}
	if c.LAN.Method == MethodDHCP {
		errs = append(errs, errors.New("netcfg: the LAN cannot be configured by DHCP"))
	}
	if c.WAN.Method != MethodNone && c.WAN.Name == c.LAN.Name {
		errs = append(errs, fmt.Errorf("netcfg: %s cannot be both WAN and LAN", c.WAN.Name))
	}
	return errors.Join(errs...)
}
