package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/dhcpd"
)

// machineID names this machine (machine-id(5)); empty when it has no name.
func machineID() string {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// noteDHCP takes an event from the DHCP server, which must not wait. What does
// not fit is lost: events only say that something happened.
func (a *Agent) noteDHCP(e dhcpd.Event) {
	select {
	case a.events <- e:
	default:
	}
}

// followDHCP logs what an operator cares about and tells the phones what was seen.
func (a *Agent) followDHCP(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-a.events:
			a.logDHCP(e) // a phone's DISCOVER is logged by the phones, once a boot
			a.tellPhones(e)
		}
	}
}

func (a *Agent) logDHCP(e dhcpd.Event) {
	args := []any{events.KeyAt, e.At, "mac", e.MAC.String(), "address", e.Addr}
	for _, f := range [][2]string{
		{"extension", a.phones.NumberOf(e.MAC)}, {"hostname", e.Hostname}, {"class", e.VendorClass}, {"circuit", e.Circuit}, {"detail", e.Detail},
	} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	log := a.log.With("part", "dhcp")
	switch e.Type {
	case dhcpd.EventAck:
		log.Info("lease", args...)
	case dhcpd.EventNak:
		log.Info("refused an address (NAK)", args...)
	case dhcpd.EventRelease:
		log.Info("lease given back", args...)
	case dhcpd.EventConflict:
		log.Warn("an address is used by another machine", args...)
	case dhcpd.EventInUse:
		log.Info("a machine has an address of the range without a lease of ours, and keeps it", args...)
	case dhcpd.EventFull:
		log.Warn("no address is left for a client: enlarge dhcp.range, or look who takes them all (sae-agent leases)", args...)
	case dhcpd.EventRival:
		log.Warn("another DHCP server answers on the LAN", args...)
	default:
		log.Log(context.Background(), slog.LevelDebug, "dhcp "+string(e.Type), args...)
	}
}

// tellPhones passes on what concerns a phone.
func (a *Agent) tellPhones(e dhcpd.Event) {
	switch e.Type {
	case dhcpd.EventDiscover:
		a.phones.Seen(phones.Sighting{MAC: e.MAC, At: e.At, Class: e.VendorClass, Circuit: e.Circuit})
	case dhcpd.EventAck:
		a.phones.Seen(phones.Sighting{MAC: e.MAC, At: e.At, Addr: e.Addr, Class: e.VendorClass, Circuit: e.Circuit})
	case dhcpd.EventConflict:
		if holder, ok := a.holder(e.Addr); ok && holder.MAC.String() != e.MAC.String() {
			a.phones.Seen(phones.Sighting{MAC: holder.MAC, At: e.At, Addr: e.Addr, Class: holder.VendorClass, Other: e.MAC})
		}
	}
}

func (a *Agent) holder(addr netip.Addr) (dhcpd.Lease, bool) {
	s := a.dhcp.Load()
	if s == nil {
		return dhcpd.Lease{}, false
	}
	return s.Lookup(addr)
}
