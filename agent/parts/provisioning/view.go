package provisioning

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
)

const (
	// StateRegistered is the last of a phone's states: the exchange knows where it is.
	StateRegistered phones.State = "registered"
	// registerTime is how long a phone may take from its file to its registration.
	registerTime = time.Minute
	// heardTime is for how long a registration counts that was only heard: phones are told to renew theirs after 10
	// minutes at most.
	heardTime = 15 * time.Minute
)

// Registered notes the phones that one of them has registered.
func (p *Part) Registered(ctx context.Context, from netip.Addr, extension string) {
	mac, ok := p.HolderOf(from)
	if !ok {
		return
	}
	if err := p.phones.Registered(ctx, mac, extension); err != nil {
		p.log.Error("cannot note that a phone has registered", "mac", mac.String(), "err", err)
	}
}

// All are the phones as phones lists them, with what the exchange knows of them: which are registered, and what keeps
// others from it. The status is made of them whenever somebody looks: they are not put into a list of their own.
func (p *Part) All() iter.Seq[View] {
	w := p.knowledge()
	return func(yield func(View) bool) {
		for st := range p.phones.All() {
			if !yield(w.view(st)) {
				return
			}
		}
	}
}

// knowledge is what is known of phones besides what package phones knows.
type knowledge struct {
	exchange pbx.State
	watched  bool                                            // there is an exchange that we watch
	deviceOf func(pbx.Registration) (net.HardwareAddr, bool) // whose phone's address it is
	slowed   func(netip.Addr) bool
	lost     func() map[netip.Addr]bool // addresses that do not answer; asked for when it matters only
}

func (p *Part) knowledge() knowledge {
	w := knowledge{
		deviceOf: p.DeviceOf,
		slowed:   func(addr netip.Addr) bool { return p.deps.Slowed(addr) },
		lost:     sync.OnceValue(func() map[netip.Addr]bool { return lostNeighbours(p.host.Running().Config.LAN.Interface) }),
	}
	w.exchange, w.watched = p.deps.Exchange.State()
	return w
}

// View is a phone with what the exchange knows of it.
type View struct {
	phones.Status
	Trouble string // why it has its file and is not registered; empty: it is, or it may take longer
}

func (w knowledge) view(p phones.Status) View {
	v := View{Status: p}
	if p.Extension == "" {
		return v
	}
	heard := !w.watched && !p.LastRegistration.IsZero() && time.Since(p.LastRegistration) < heardTime
	if heard || w.registered(p) {
		v.State = StateRegistered
		return v
	}
	if w.watched && p.State == phones.StateProvisioned && time.Since(p.LastFetch) > registerTime {
		v.Trouble = w.trouble(p)
	}
	return v
}

// registered reports whether a phone has registered its extension, and not another one with its password.
func (w knowledge) registered(p phones.Status) bool {
	return slices.ContainsFunc(w.exchange.Lines[p.Extension].Registrations, func(r pbx.Registration) bool {
		mac, ok := w.deviceOf(r)
		return ok && bytes.Equal(mac, p.MAC)
	})
}

// trouble says what most likely keeps a phone from registering, in the operator's words.
func (w knowledge) trouble(p phones.Status) string {
	st := w.exchange
	line, there := st.Lines[p.Extension]
	refused, tried := st.Refused[p.Extension]
	wrongSecret := tried && refused.Remote.Addr() == p.Addr && refused.Time.After(p.LastFetch)
	switch {
	case errors.Is(st.Outcome.Err, pbx.ErrAbsent):
		return "there is no exchange yet"
	case st.Health.State != pbx.Well && st.Health.State != pbx.Starting:
		return "the exchange is not well: " + st.Health.Why
	case !there && !st.Observed.IsZero():
		return "the exchange has no extension " + p.Extension + " yet: see sae-agent pbx status"
	case wrongSecret && w.slowed(p.Addr):
		return "the exchange has refused its password so often that it is slowed down: " + newSecret
	case wrongSecret:
		return "the exchange refuses its password: " + newSecret
	case line.Registered():
		return fmt.Sprintf("extension %s is registered from %s instead", p.Extension, line.Registrations[0].Remote.Addr())
	case !p.Addr.IsValid() || w.lost()[p.Addr]:
		return "it does not answer on the network: it is off, unplugged or in another network"
	}
	return "it has its file and has not tried to register: look at the account on its own page, or restart it"
}

// newSecret is how a phone gets the password of its extension.
const newSecret = "sae-agent phones rearm, then restart it, give it that of the file"

// lostNeighbours lists the addresses on a card that the kernel has asked for in vain (ARP).
func lostNeighbours(card string) map[netip.Addr]bool {
	out := make(map[netip.Addr]bool)
	link, err := netlink.LinkByName(card)
	if err != nil {
		return out
	}
	list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return out
	}
	for _, n := range list {
		if addr, ok := netip.AddrFromSlice(n.IP.To4()); ok && n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 {
			out[addr] = true
		}
	}
	return out
}

// PhonesOf lists the desk phones that have an extension.
func PhonesOf(list []View, number string) []View {
	var out []View
	for _, p := range list {
		if p.Extension == number {
			out = append(out, p)
		}
	}
	return out
}
