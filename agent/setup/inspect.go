// Package setup writes the first configuration: from what the machine has (init),
// or from the files of a machine that was set up by hand (import). It only reads;
// what it could not take over it says in notes.
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/sshd"
	"github.com/sae-agent/sae-agent/netcfg"
)

// Machine is what a machine has.
type Machine struct {
	Hostname string
	Timezone string // IANA name, or empty
	Language string // of LANG, such as fr_FR.UTF-8
	Cards    []Card
	SSH      SSH
	// Ran is what sae-agent runs here, or ran last; nil: it never ran. Inspect leaves it to the caller.
	Ran *config.Config
}

// SSH is where the machine's SSH server listens.
type SSH struct {
	Configured []uint16 // by its configuration
	Listening  []uint16 // now; empty when it does not run
}

// Card is a network card.
type Card struct {
	Name      string
	Default   bool // has the default route
	Addresses []netip.Prefix
	Owner     string // who manages it, or empty
}

// Inspect looks at this machine.
func Inspect(ctx context.Context) (Machine, error) {
	m := Machine{SSH: inspectSSH(), Timezone: timezone("/"), Language: cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LANG"))}
	m.Hostname, _ = os.Hostname()
	links, err := netlink.LinkList()
	if err != nil {
		return m, fmt.Errorf("setup: list network cards: %w", err)
	}
	gateway := defaultLink()
	for _, l := range links {
		name := l.Attrs().Name
		if !isCard(l) {
			continue
		}
		c := Card{Name: name, Default: l.Attrs().Index == gateway}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return m, fmt.Errorf("setup: addresses of %s: %w", name, err)
		}
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
				ones, _ := a.Mask.Size()
				c.Addresses = append(c.Addresses, netip.PrefixFrom(ip, ones))
			}
		}
		if owners, err := netcfg.Owners(ctx, name); err == nil && len(owners) > 0 {
			c.Owner = owners[0].Manager
		}
		m.Cards = append(m.Cards, c)
	}
	slices.SortFunc(m.Cards, func(a, b Card) int { return cmp.Compare(a.Name, b.Name) })
	return m, nil
}

// isCard reports whether a link is an Ethernet card, or the end of a cable in a
// lab, and no bridge, tunnel or container's link.
func isCard(l netlink.Link) bool {
	a := l.Attrs()
	if a.EncapType != "ether" || a.MasterIndex != 0 || len(a.HardwareAddr) != 6 {
		return false
	}
	switch l.Type() {
	case "device":
		return true
	case "veth":
		return !strings.HasPrefix(a.Name, "veth") // Docker's
	}
	return false
}

// defaultLink returns the index of the link with the default route, or 0.
func defaultLink() int {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return 0
	}
	best, metric := 0, 0
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if best == 0 || r.Priority < metric {
			best, metric = r.LinkIndex, r.Priority
		}
	}
	return best
}

// timezone reads the machine's time zone.
func timezone(root string) string {
	if data, err := os.ReadFile(filepath.Join(root, "etc/timezone")); err == nil {
		return strings.TrimSpace(string(data))
	}
	target, err := os.Readlink(filepath.Join(root, "etc/localtime"))
	if err != nil {
		return ""
	}
	_, name, _ := strings.Cut(target, "zoneinfo/")
	return name
}

// TFTPRoot returns the directory that tftpd-hpa serves, or else the manual procedure's.
func TFTPRoot(root string) string {
	data, _ := os.ReadFile(filepath.Join(root, "etc/default/tftpd-hpa"))
	for line := range strings.Lines(string(data)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "TFTP_DIRECTORY="); ok {
			return strings.Trim(dir, `"'`)
		}
	}
	return "/tftpboot"
}

// Draft makes a configuration for a machine. The card with the default route is
// the WAN; who manages it goes on doing so. What sae-agent had as its own WAN stays
// that, since the card's address and route are its own doing.
func Draft(m Machine) (c *config.Config, notes []string, err error) {
	c = config.Default()
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	c.Site.Name = cmp.Or(strings.SplitN(m.Hostname, ".", 2)[0], c.Site.Name)
	c.Site.Timezone = cmp.Or(m.Timezone, c.Site.Timezone)
	if l, err := config.ParseLanguage(m.Language); err == nil { // not so for C and POSIX
		c.Site.Language = l
	}
	wan := slices.IndexFunc(m.Cards, func(c Card) bool { return c.Default })
	ours := m.ourWAN()
	if ours >= 0 {
		wan = ours
	}
	switch {
	case len(m.Cards) == 0:
		return nil, nil, errors.New("this machine has no network card: two are needed, one towards the Internet and one towards the phones")
	case len(m.Cards) == 1:
		return oneCard(c, m.Cards[0])
	case wan < 0:
		wan = 0
		note("No card has a default route: %s is taken for the WAN. Change wan and lan if it is the other way round.", m.Cards[0].Name)
	}
	w := m.Cards[wan]
	c.WAN.Interface = w.Name
	switch {
	case ours >= 0:
		c.WAN = m.Ran.WAN
		note("%s is managed by us as the WAN already, and stays so.", w.Name)
	case w.Owner != "" || len(w.Addresses) > 0:
		c.WAN.Method = config.WANExternal
		note("%s has an address already (%s), so it is left to whoever manages it (method: external).", w.Name, cmp.Or(w.Owner, "set by hand"))
	}
	lan := pickLAN(m.Cards, wan)
	c.LAN.Interface = lan.Name
	if len(m.Cards) > 2 {
		note("There are %d cards: %s is taken for the phones. Change lan.interface if it is another one.", len(m.Cards), lan.Name)
	}
	c.LAN.Address = lanAddress(lan, w)
	switch {
	case lan.Owner == "NetworkManager" && len(lan.Addresses) == 0: // as it does with every card
		note("NetworkManager waits for a network on %s: run 'sae-agent takeover' to have it leave that card alone.", lan.Name)
	case lan.Owner != "" || len(lan.Addresses) > 0:
		c.DHCP.Enabled = false
		note("%s is in use (%s): it stays as it is, and nobody gets an address from here (dhcp.enabled: false). Once it is for the phones alone, run 'sae-agent takeover' and set dhcp.enabled: true.", lan.Name, cmp.Or(lan.Owner, "an address was set by hand"))
	}
	c.DHCP.Range = rangeOf(c.LAN.Address)
	c.Firewall.WANAllow = openSSH(m.SSH)
	if len(c.Firewall.WANAllow) > 0 {
		note("What firewall.wan_allow does not name is closed to the Internet. SSH stays open.")
	}
	return c, notes, nil
}

// ourWAN is the index of the card that sae-agent has as its WAN and manages itself; -1: none.
func (m Machine) ourWAN() int {
	if m.Ran == nil || m.Ran.WAN.Method == config.WANExternal {
		return -1
	}
	return slices.IndexFunc(m.Cards, func(c Card) bool { return c.Name == m.Ran.WAN.Interface })
}

// oneCard is for a machine that lacks the other card: the one it has stays as it is, so
// that whoever works over it goes on.
func oneCard(c *config.Config, card Card) (*config.Config, []string, error) {
	c.WAN.Method = config.WANNone
	c.LAN.Interface, c.LAN.Address = card.Name, lanAddress(card, Card{})
	c.DHCP.Enabled = false
	c.DHCP.Range = rangeOf(c.LAN.Address)
	c.Firewall.Enabled = false
	return c, []string{fmt.Sprintf("This machine has only one network card (%s), and two are needed: one towards the Internet and one towards the phones. "+
		"It stays as it is: nobody gets an address from here, and no firewall is set. Add the other card, move this file away, and run 'sae-agent init --fresh'.", card.Name)}, nil
}

// inspectSSH finds the SSH server's ports.
func inspectSSH() SSH {
	s := SSH{Configured: sshd.Ports("/")}
	all, err := doctor.Listeners("/proc")
	if err != nil {
		return s // its configuration must do
	}
	for _, l := range all {
		if l.Program == "sshd" && l.Protocol == "tcp" && !l.Addr.Addr().IsLoopback() && !slices.Contains(s.Listening, l.Addr.Port()) {
			s.Listening = append(s.Listening, l.Addr.Port())
		}
	}
	return s
}

// openSSH keeps the SSH server within the reach of whoever sets this machine up:
// "ssh" is wherever its configuration says, and follows it; a port that comes from
// elsewhere is named.
func openSSH(s SSH) []config.Service {
	var out []config.Service
	for _, p := range slices.Sorted(slices.Values(s.Listening)) {
		one := config.Service{Protocol: "tcp", Ports: config.PortRange{First: p, Last: p}}
		if slices.Contains(s.Configured, p) {
			one = config.Service{Name: "ssh"}
		}
		if !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}

// pickLAN prefers a card that nobody uses.
func pickLAN(cards []Card, wan int) Card {
	var others []Card
	for i, c := range cards {
		if i != wan {
			others = append(others, c)
		}
	}
	if i := slices.IndexFunc(others, func(c Card) bool { return len(c.Addresses) == 0 && c.Owner == "" }); i >= 0 {
		return others[i]
	}
	return others[0]
}

// lanAddress keeps an address that the card has, a private one if possible, else
// takes the first usual network that is not the WAN's.
func lanAddress(lan, wan Card) netip.Prefix {
	for _, a := range lan.Addresses {
		if a.Addr().IsPrivate() && a.Bits() <= 24 {
			return a
		}
	}
	if len(lan.Addresses) > 0 {
		return lan.Addresses[0]
	}
	for _, s := range []string{"192.168.1.1/24", "192.168.77.1/24", "10.77.0.1/24"} {
		p := netip.MustParsePrefix(s)
		if !slices.ContainsFunc(wan.Addresses, p.Overlaps) {
			return p
		}
	}
	return netip.MustParsePrefix("172.27.77.1/24")
}

// rangeOf is where the phones' addresses come from: .10 to .100 as in the manual
// procedure, or up to .249 when the appliance is in between. In a network smaller
// than a /24 it is what check then complains of.
func rangeOf(lan netip.Prefix) config.AddrRange {
	base := lan.Masked().Addr().As4()
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{base[0], base[1], base[2], last}) }
	r := config.AddrRange{First: at(10), Last: at(100)}
	if r.Contains(lan.Addr()) {
		r = config.AddrRange{First: at(101), Last: at(249)}
	}
	return r
}
