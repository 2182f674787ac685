package dhcpd

import "net/netip"

// maxInUse bounds what invented answers to ARP can make us remember.
const maxInUse = 4096

// found reports whether ARP showed this client at an address: a lease of the server
// that was here before us, or an address that was set by hand. The client keeps it.
func (t *table) found(m mac, addr netip.Addr) bool {
	r := t.byAddr[addr]
	return r != nil && r.State == StateInUse && r.owner == m
}

// stateFound decides what becomes of a free address for which a machine answers;
// ok is false when it stays free. A machine has one address as a rule, and its own
// is no conflict. More of them are out of use as those that clients decline, and no
// stranger's answer takes a place that is held back for a known client, unless our own
// leases were lost: then whoever answers has its address from us, most likely.
func (t *table) stateFound(addr netip.Addr, claimer mac, recovering bool) (s State, ok bool) {
	elsewhere := t.found(claimer, t.inUse[claimer]) && t.inUse[claimer] != addr
	if !elsewhere && (recovering || t.plan.known[claimer] || t.strangersMayTake(t.plan.nets[0])) {
		return StateInUse, true
	}
	return StateDeclined, !t.quarantineFull()
}

// foundEvent tells of a machine that answers at a free address, once; no event when
// it was told already.
func (t *table) foundEvent(r *record) Event {
	if r.State == StateDeclined {
		return Event{Type: EventConflict, MAC: r.owner.hw(), Addr: r.Addr, Detail: "answers to ARP"}
	}
	if t.inUse[r.owner] == r.Addr {
		return Event{}
	}
	if len(t.inUse) >= maxInUse {
		clear(t.inUse)
	}
	t.inUse[r.owner] = r.Addr
	return Event{Type: EventInUse, MAC: r.owner.hw(), Addr: r.Addr, Detail: "answers to ARP"}
}
