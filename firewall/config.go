package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says what may pass. The zero Config lets nothing in but answers.
type Config struct {
	// Disabled takes our table away. Bans are remembered, and not in force.
	Disabled bool

	// WAN is the card towards the Internet; empty: there is none. What comes in by
	// a card that is named nowhere is judged as if it came from the WAN.
	WAN string
	// LAN is the card towards the phones.
	LAN string
	// LANNets are the networks behind the LAN card. They are masqueraded towards
	// the WAN, and nobody in them is ever banned.
	LANNets []netip.Prefix
	// Containers are the links of containers, with * as the last character for all
	// that begin so. Docker's are docker0 and br-*.
	Containers []string
	// Trusted are further links, such as those of a VPN, from which everything may
	// come in.
	Trusted []string

	Services []Service
	// Allow are senders that are never banned, and may use the services that are
	// marked Allowed, wherever they are.
	Allow []netip.Prefix
	// AllowNames are host names with the same right. They are resolved now and then.
	AllowNames []string
	// Shield limits strangers at the services that are marked SIP.
	Shield Shield
	// Marks are the classes (DSCP) that packets get on their way out.
	Marks []Mark

	// StateDir holds the bans and the ruleset for the next start of the machine.
	// Empty: nothing is kept.
	StateDir string
	// Tentative keeps the ruleset from being what the machine starts with: the
	// configuration still waits for its confirmation.
	Tentative bool
}

// Service is one port of the appliance, or a range, and who may reach it.
type Service struct {
	Name        string // for people, such as "SIP"
	Protocol    string // tcp or udp
	First, Last uint16 // both included
	// WAN, LAN and Containers open it to a zone, Allowed to the senders of Allow.
	WAN, LAN, Containers, Allowed bool
	// LANOnly closes it to the Internet and to the senders of Allow whatever else
	// is said, in this Service or in another one: for DHCP, TFTP and provisioning.
	LANOnly bool
	// From opens it to the senders of one network besides, wherever they are.
	From netip.Prefix
	// SIP puts the shield before it.
	SIP bool
	// Published says that it may be a port of a container, which Docker forwards.
	Published bool
}

// Rate is a number of packets in a time, and how many may come at once.
type Rate struct {
	Packets int
	Per     time.Duration // a second, a minute or an hour
	Burst   int
}

// Shield are the limits for senders that are neither on the LAN nor allowed.
type Shield struct {
	// Per sender, for requests over UDP: RFC 3261 section 7.1.
	Options, Register, Invite Rate
	// Per sender, for new connections over TCP.
	Connections Rate
	// Global is for all strangers together: it still holds when the tables of
	// senders are full.
	Global Rate
	// LAN is how often one machine of the LAN may send REGISTER, Slow how often
	// when it was told to slow down (Throttle). Nobody on the LAN is banned.
	LAN, Slow Rate
	// Bans are the times of the kernel's own bans: the first, second and every
	// further time within a day. Over UDP a sender can be forged, so these are short.
	Bans [3]time.Duration
	// ConnectionBans are the same for senders over TCP, which cannot be forged.
	ConnectionBans [3]time.Duration
}

// DefaultShield suits a site with a few hundred phones.
func DefaultShield() Shield {
	return Shield{
		Options:        Rate{10, time.Minute, 20},
		Register:       Rate{20, time.Minute, 30},
		Invite:         Rate{10, time.Minute, 20},
		Connections:    Rate{20, time.Minute, 30},
		Global:         Rate{100, time.Second, 200},
		LAN:            Rate{10, time.Second, 100},
		Slow:           Rate{6, time.Minute, 4},
		Bans:           [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute},
		ConnectionBans: [3]time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour},
	}
}

// Mark gives packets from or to some ports a class: RFC 2474.
type Mark struct {
	Name        string // for people
	Protocol    string // tcp or udp
	First, Last uint16 // both included
	DSCP        uint8  // 0 to 63, such as 46 for EF
}

// linkShape is what a link may be called (dev_valid_name in the kernel is wider,
// but nothing sensible is), with * at its end for a pattern.
var linkShape = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,15}$|^[A-Za-z0-9_.:@-]{1,14}\*$`)

// nameShape is what may stand in a comment: nft knows no way to quote quotes.
var nameShape = regexp.MustCompile(`^[A-Za-z0-9 .,:;'()/_-]{1,64}$`)

// Validate finds what could not be rendered.
func (c Config) Validate() error {
	if c.Disabled {
		return nil
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("firewall: "+format, args...)) }
	if c.LAN == "" || c.LAN == c.WAN {
		fail("the LAN card %q must be named, and not be the WAN's", c.LAN)
	}
	if c.WAN != "" && !plainLink(c.WAN) || !plainLink(c.LAN) {
		fail("%q and %q are not both names of cards", c.WAN, c.LAN)
	}
	for _, link := range slices.Concat(c.Containers, c.Trusted) {
		if !linkShape.MatchString(link) {
			fail("%q is not the name of a link", link)
		}
	}
	for _, s := range c.Services {
		checkPorts(fail, "service", s.Name, s.Protocol, s.First, s.Last)
	}
	for _, m := range c.Marks {
		checkPorts(fail, "mark", m.Name, m.Protocol, m.First, m.Last)
		if m.DSCP > 63 {
			fail("mark %q: %d is not a DSCP, which is 0 to 63", m.Name, m.DSCP)
		}
	}
	for _, p := range slices.Concat(c.LANNets, c.Allow) {
		if !p.IsValid() {
			fail("%v is not a network", p)
		}
	}
	if slices.ContainsFunc(c.Services, func(s Service) bool { return s.SIP }) {
		c.Shield.check(fail)
	}
	return errors.Join(errs...)
}

// plainLink reports whether a name is that of one card.
func plainLink(name string) bool {
	return linkShape.MatchString(name) && !strings.HasSuffix(name, "*")
}

func checkPorts(fail func(string, ...any), what, name, protocol string, first, last uint16) {
	if !nameShape.MatchString(name) {
		fail("%s %q: a name has 1 to 64 plain characters", what, name)
	}
	if protocol != "tcp" && protocol != "udp" {
		fail("%s %q: %q is neither tcp nor udp", what, name, protocol)
	}
	if first == 0 || last < first {
		fail("%s %q: %d-%d are not ports", what, name, first, last)
	}
}

func (s Shield) check(fail func(string, ...any)) {
	for _, r := range []Rate{s.Options, s.Register, s.Invite, s.Connections, s.Global, s.LAN, s.Slow} {
		if r.Packets < 1 || r.Burst < 1 || r.unit() == "" {
			fail("%v is not a rate: packets and burst are at least 1, per a second, a minute or an hour", r)
		}
	}
	for _, d := range slices.Concat(s.Bans[:], s.ConnectionBans[:]) {
		if d < time.Second || d%time.Second != 0 {
			fail("a ban of %v: it takes whole seconds", d)
		}
	}
}

// unit is how nft names what Per is, or empty.
func (r Rate) unit() string {
	return map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour"}[r.Per]
}
