package dhcp

import (
	"context"
	"log/slog"
	"time"

	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
)

// note takes an event from the server, which must not wait. What does not fit is
// lost: events only say that something happened.
func (p *Part) note(e dhcpd.Event) {
	select {
	case p.events <- e:
	default:
	}
}

// recheckEvery is how often a store that failed is tried.
const recheckEvery = 5 * time.Second

// follow logs what an operator cares about, and passes on which stations were seen. A
// store that has failed is tried now and then.
func (p *Part) follow(ctx context.Context, db *leasedb.DB) {
	log := p.host.Logger(name)
	recheck := time.NewTicker(recheckEvery)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-recheck.C:
			_ = db.Recheck(ctx) // the report tells of the error
		case e := <-p.events:
			p.log(log, e) // a phone's DISCOVER is logged by the phones, once a boot
			p.pass(e)
		}
	}
}

// entry is how an event is logged; without words it goes by its type.
type entry struct {
	level slog.Level
	what  string
}

func entryOf(t dhcpd.EventType) entry {
	switch t {
	case dhcpd.EventAck:
		return entry{slog.LevelInfo, "lease"}
	case dhcpd.EventNak:
		return entry{slog.LevelInfo, "refused an address (NAK)"}
	case dhcpd.EventRelease:
		return entry{slog.LevelInfo, "lease given back"}
	case dhcpd.EventConflict:
		return entry{slog.LevelWarn, "an address is used by another machine"}
	case dhcpd.EventFull:
		return entry{slog.LevelWarn, "no address is left for a client: enlarge dhcp.range, or look who takes them all (sae-agent leases)"}
	case dhcpd.EventRival:
		return entry{slog.LevelWarn, "another DHCP server answers on the LAN"}
	}
	return entry{level: slog.LevelDebug}
}

// log logs an event. Most are for a level that nobody reads, so that nothing is made of them before that is known.
func (p *Part) log(log *slog.Logger, e dhcpd.Event) {
	as := entryOf(e.Type)
	if !log.Enabled(context.Background(), as.level) {
		return
	}
	if as.what == "" {
		as.what = "dhcp " + string(e.Type)
	}
	attrs := append(make([]slog.Attr, 0, 8), slog.Time(events.KeyAt, e.At), slog.String("mac", e.MAC.String()), slog.String("address", e.Addr.String()))
	for _, a := range [...]slog.Attr{
		slog.String("extension", p.deps.NumberOf(e.MAC)), slog.String("hostname", e.Hostname), slog.String("class", e.VendorClass),
		slog.String("circuit", e.Circuit), slog.String("detail", e.Detail),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	log.LogAttrs(context.Background(), as.level, as.what, attrs...)
}

// pass says which stations were seen.
func (p *Part) pass(e dhcpd.Event) {
	switch e.Type {
	case dhcpd.EventDiscover:
		p.deps.Seen(Sighting{MAC: e.MAC, At: e.At, Class: e.VendorClass, Circuit: e.Circuit})
	case dhcpd.EventAck:
		p.deps.Seen(Sighting{MAC: e.MAC, At: e.At, Addr: e.Addr, Class: e.VendorClass, Circuit: e.Circuit})
	case dhcpd.EventConflict:
		if holder, ok := p.Holder(e.Addr); ok && holder.MAC.String() != e.MAC.String() {
			p.deps.Seen(Sighting{MAC: holder.MAC, At: e.At, Addr: e.Addr, Class: holder.VendorClass, Other: e.MAC})
		}
	}
}
