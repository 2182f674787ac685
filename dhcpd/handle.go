package dhcpd

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// decision is what the server does about one message.
type decision struct {
	reply  *reply     // nil: silence
	record *record    // whose change must be on disk before the reply leaves
	gen    uint64     // of that change
	lease  Lease      // the change
	leaves netip.Addr // the client's earlier address, which goes from the store with it
	probe  netip.Addr // the client's new address, which nobody else may have
	sure   bool       // that was looked for lately, or ours to give all the time
	verify netip.Addr // a leased or unknown address to look for on the LAN
	event  Event      // without a type: none
	drop   string     // why there is silence, a metric's label
}

// Reasons for silence, the label of sae_dhcp_dropped_total.
const (
	dropMalformed   = "malformed"
	dropNotForUs    = "not_for_us" // another server's
	dropRelay       = "relay"      // a relay's that is not configured
	dropRate        = "rate"       // one station sent too many
	dropUnknown     = "unknown_client"
	dropFull        = "pool_full"
	dropNotItsOwn   = "not_its_own" // DECLINE, RELEASE or INFORM about an address that is not the sender's
	dropRival       = "rival"
	dropOverload    = "overload"
	dropStore       = "store"
	dropUnsupported = "unsupported"
)

func silence(why string) decision { return decision{drop: why} }

// handle decides about one message. It changes the table; with a record the change
// must be stored before the reply leaves, or undone by t.revert.
func (t *table) handle(now time.Time, recovering bool, q query) decision {
	if q.net = t.plan.network(&q); q.net == nil {
		return silence(dropRelay)
	}
	switch q.kind {
	case dhcpv4.MessageTypeDiscover:
		return t.discover(now, q)
	case dhcpv4.MessageTypeRequest:
		return t.request(now, recovering, q)
	case dhcpv4.MessageTypeDecline:
		return t.decline(now, q)
	case dhcpv4.MessageTypeRelease:
		return t.release(now, q)
	case dhcpv4.MessageTypeInform:
		return t.inform(q)
	}
	return silence(dropUnsupported)
}

// discover offers an address. RFC 2131 4.3.1: the client's current address, or
// its previous one if that is available, or the one it asks for, or a new one.
func (t *table) discover(now time.Time, q query) decision {
	r := t.byMAC[q.mac]
	if r != nil && !t.usable(q.net, q.mac, r.Addr) {
		r = nil // the configuration moved it, or its reservation is free now
	}
	if r == nil {
		if r = t.take(q); r == nil {
			d := silence(dropFull)
			d.event = q.event(EventFull, netip.Addr{})
			return d
		}
	}
	d := t.checked(now, q, r)
	if r.State != StateBound {
		t.set(r, StateOffered, now.Add(offerTime))
	}
	d.reply, d.event = t.reply(&q, dhcpv4.MessageTypeOffer, r.Addr), t.event(&q, EventDiscover, r)
	return d
}

// checked says whether the address must be looked for before the client gets it.
// Behind a relay nobody would hear us ask.
func (t *table) checked(now time.Time, q query, r *record) (d decision) {
	if r.State != StateBound && q.net == t.plan.nets[0] {
		d.probe, d.sure = r.Addr, now.Sub(r.checked) < cleanFor
	}
	return d
}

// take finds an address for a client without one and makes it the client's.
func (t *table) take(q query) *record {
	addr, ok := t.wanted(q), true
	old := t.byAddr[addr]
	if !addr.IsValid() {
		if addr, old, ok = t.choose(q.net, q.mac); !ok {
			return nil
		}
	}
	return t.claim(q, addr, old)
}

// wanted returns the address that a client asks for if it may have it at once.
func (t *table) wanted(q query) netip.Addr {
	for _, a := range []netip.Addr{q.requested, t.inUse[q.mac]} {
		if t.found(q.mac, a) && t.usable(q.net, q.mac, a) {
			return a
		}
	}
	a := q.requested
	if !a.IsValid() || !t.usable(q.net, q.mac, a) || t.byAddr[a] != nil {
		return netip.Addr{}
	}
	if !t.plan.known[q.mac] && !t.strangersMayTake(q.net) {
		return netip.Addr{}
	}
	return a
}

// claim makes an address the client's, in place of what was there, and lets the
// client's earlier address go.
func (t *table) claim(q query, addr netip.Addr, old *record) *record {
	r := &record{owner: q.mac}
	if old != nil {
		r.disk = old.disk
		t.forget(old)
	}
	if prev := t.byMAC[q.mac]; prev != nil {
		t.forget(prev)
		if prev.disk.state != StateFree {
			r.leaves = prev.Addr
		}
	}
	r.Addr, r.MAC = addr, q.mac.hw()
	r.State = StateOffered
	if old == nil && networkOf(t.plan.nets, addr) == t.plan.nets[0] {
		r.checked = t.stock.take(toUint32(addr))
	}
	t.put(r)
	return r
}

// request answers a REQUEST. RFC 2131 4.3.2 tells its four kinds apart by the
// server identifier, the requested address and ciaddr.
func (t *table) request(now time.Time, recovering bool, q query) decision {
	switch {
	case q.serverID.IsValid():
		return t.selecting(now, q)
	case q.requested.IsValid():
		return t.confirm(now, recovering, q, q.requested) // INIT-REBOOT
	case q.ciaddr.IsValid():
		return t.confirm(now, recovering, q, q.ciaddr) // RENEWING, REBINDING
	}
	return silence(dropMalformed)
}

// selecting: the client has taken an offer, ours or another server's.
func (t *table) selecting(now time.Time, q query) decision {
	r := t.byMAC[q.mac]
	if q.serverID != t.plan.ServerID {
		if r != nil && r.State == StateOffered {
			t.set(r, StateOffered, now) // let the offer go with the next expire
		}
		return silence(dropNotForUs)
	}
	addr := q.requested
	if !addr.IsValid() {
		addr = q.ciaddr // some clients renew with the server identifier
	}
	if r == nil || r.Addr != addr || !t.usable(q.net, q.mac, addr) {
		// Also when the offer has run out or was made before a restart: what holds for
		// every way to an address (whose it is, who uses it) is decided at DISCOVER.
		return t.nak(q, addr, "not offered to this client")
	}
	return t.bind(now, q, r)
}

// confirm: the client has an address and wants to keep it.
func (t *table) confirm(now time.Time, recovering bool, q query, addr netip.Addr) decision {
	if !q.net.subnet.Contains(addr) {
		return t.nak(q, addr, "wrong network")
	}
	r := t.byMAC[q.mac]
	switch {
	case r != nil && r.Addr == addr && t.usable(q.net, q.mac, addr):
		if d := t.checked(now, q, r); d.probe.IsValid() && !d.sure {
			t.set(r, StateOffered, now.Add(offerTime)) // its lease has ended: decided again after the probe
			return d
		}
		return t.bind(now, q, r)
	case r != nil:
		return t.nak(q, addr, fmt.Sprintf("its address is %v", r.Addr))
	case t.found(q.mac, addr) && t.usable(q.net, q.mac, addr):
		return t.bind(now, q, t.move(q, addr)) // ARP showed it at this address before it spoke to us
	case t.byAddr[addr] != nil || !t.usable(q.net, q.mac, addr):
		return t.nak(q, addr, "not its address")
	case recovering:
		return t.bind(now, q, t.move(q, addr)) // our leases were lost; the client still has its own
	}
	// "If the DHCP server has no record of this client, then it MUST remain silent." It
	// may be a former server's; once ARP has shown it there, it keeps the address.
	d := silence(dropUnknown)
	if q.net == t.plan.nets[0] {
		d.verify = addr
	}
	return d
}

// move gives the client another address than the one it has.
func (t *table) move(q query, addr netip.Addr) *record { return t.claim(q, addr, t.byAddr[addr]) }

// bind makes r the client's lease and prepares the ACK.
func (t *table) bind(now time.Time, q query, r *record) decision {
	if !bytes.Equal(r.ClientID, q.clientID) {
		r.ClientID = slices.Clone(q.clientID)
	}
	r.Hostname, r.VendorClass = cleaned(r.Hostname, q.hostname), t.className(q.class)
	r.Start, r.via = now, q.station
	t.set(r, StateBound, now.Add(t.plan.leaseTime(q.mac)))
	d := decision{record: r, gen: r.gen, lease: r.Lease, leaves: r.leaves, event: t.event(&q, EventAck, r)}
	r.leaves = netip.Addr{}
	d.reply = t.reply(&q, dhcpv4.MessageTypeAck, r.Addr)
	return d
}

// believeDecline is how long after its ACK a client's DECLINE is believed without
// another look: RFC 5227 has it probe for nine seconds.
const believeDecline = 30 * time.Second

// decline: the client found somebody else at its address. Only the station that was
// acknowledged is heard: whoever declines what he was not given wants to empty the
// pool or to drive a phone from its address. After a while ARP must bear it out.
func (t *table) decline(now time.Time, q query) decision {
	r := t.byMAC[q.mac]
	switch {
	case r == nil || r.State != StateBound || r.Addr != q.requested || !r.heldBy(q.station) || q.serverID.IsValid() && q.serverID != t.plan.ServerID:
		return silence(dropNotItsOwn)
	case now.Sub(r.Start) > believeDecline:
		r.doubted = now
		return decision{verify: r.Addr}
	case t.quarantineFull():
		t.set(r, StateOffered, now) // let it go with the next expire
		return silence(dropNotItsOwn)
	}
	return t.quarantine(now, r, t.event(&q, EventConflict, r))
}

// quarantine takes an address out of use that somebody else has.
func (t *table) quarantine(now time.Time, r *record, e Event) decision {
	t.set(r, StateDeclined, now.Add(declineTime))
	return decision{record: r, gen: r.gen, lease: r.Lease, event: e}
}

func (t *table) release(now time.Time, q query) decision {
	r := t.byMAC[q.mac]
	if r == nil || r.State != StateBound || r.Addr != q.ciaddr || !r.heldBy(q.station) || q.serverID.IsValid() && q.serverID != t.plan.ServerID {
		return silence(dropNotItsOwn)
	}
	t.set(r, StateReleased, now)
	r.checked = now
	return decision{record: r, gen: r.gen, lease: r.Lease, event: t.event(&q, EventRelease, r)}
}

// inform: the client has an address of its own and wants the options (RFC 2131 4.3.5).
func (t *table) inform(q query) decision {
	if !q.routed() || !q.net.subnet.Contains(q.ciaddr) {
		return silence(dropNotItsOwn) // an address that is not its sender's: nobody would hear the answer
	}
	return decision{reply: t.reply(&q, dhcpv4.MessageTypeAck, netip.Addr{})}
}

func (t *table) nak(q query, addr netip.Addr, why string) decision {
	e := q.event(EventNak, addr)
	e.Detail = why
	return decision{reply: t.nakReply(&q, why), event: e}
}
