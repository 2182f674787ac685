package dhcpd

import (
	"bytes"
	"container/heap"
	"hash/fnv"
	"net"
	"net/netip"
	"time"
)

// offerTime is how long an offered address is kept for its client: long enough
// for one that collects offers and repeats its REQUEST once.
const offerTime = 20 * time.Second

// declineTime is how long an address that somebody else uses is left alone. A
// day (Kea's default) has emptied pools in the field; minutes are enough for a
// person to mend it.
const declineTime = 15 * time.Minute

// record is an address that somebody has, had, or was offered.
type record struct {
	Lease
	owner mac
	gen   uint64 // of the latest change, so that a failed commit does not undo a later one
	disk  *Lease // what the store has at this address; nil when nothing
	// leaves is the client's earlier address, to be deleted from the store with the next change.
	leaves  netip.Addr
	claimer mac // who else answered for the leased address
	list    *recordHeap
	index   int // in list
}

// table is the server's memory of its addresses. It does no I/O. Times are the
// server's own (see clock). Everything is O(log n): a pool of 50,000 must be as
// quick as one of 100.
type table struct {
	plan   *plan
	byAddr map[netip.Addr]*record
	byMAC  map[mac]*record // at most one address a client
	free   bitmap          // addresses of the pool without a record
	ready  bitmap          // of these, the ones that were lately looked for on the LAN and not found
	due    recordHeap      // bound, offered, declined, by Expires
	// Released and expired records, longest unused first. Known clients' are apart:
	// strangers do not get them.
	idleStranger, idleKnown recordHeap
	// unplaced counts known clients that have no address yet, and no reservation.
	unplaced int
	inUse    map[mac]netip.Addr // where a client without a lease of ours was found
	states   [stateCount]int
	size     int // addresses of the pool
	lastGen  uint64
}

func newTable(p *plan) *table {
	t := &table{byAddr: make(map[netip.Addr]*record), byMAC: make(map[mac]*record), inUse: make(map[mac]netip.Addr)}
	t.setPlan(p)
	return t
}

// setPlan puts the records under a new plan.
func (t *table) setPlan(p *plan) {
	t.plan = p
	t.free, t.ready = newBitmap(p.first, p.last), newBitmap(p.first, p.last)
	t.size = 0
	for n := p.first; ; n++ {
		if a := toAddr(n); p.dynamic(a) {
			t.size++
			if t.byAddr[a] == nil {
				t.free.set(n)
			}
		}
		if n == p.last {
			break
		}
	}
	t.unplaced = 0
	for m := range p.known {
		if _, reserved := p.reserved[m]; !reserved && t.byMAC[m] == nil {
			t.unplaced++
		}
	}
	for _, r := range t.byAddr {
		t.file(r)
	}
}

// usable reports whether the plan lets the client m have the address.
func (t *table) usable(m mac, a netip.Addr) bool {
	if r, ok := t.plan.reserved[m]; ok && !t.blocked(m, r.Addr) {
		return r.Addr == a
	}
	return t.plan.dynamic(a)
}

// blocked reports whether somebody else uses the address that is reserved for m,
// so that an address of the pool has to do.
func (t *table) blocked(m mac, reserved netip.Addr) bool {
	r := t.byAddr[reserved]
	return r != nil && (r.State == StateDeclined || r.owner != m && (r.State == StateBound || r.State == StateInUse))
}

// put makes r the record of its address and of its owner.
func (t *table) put(r *record) {
	r.index = -1
	t.byAddr[r.Addr] = r
	t.free.clear(toUint32(r.Addr))
	t.ready.clear(toUint32(r.Addr))
	t.states[r.State]++
	if !r.State.outOfUse() {
		if t.byMAC[r.owner] == nil && t.needsPlace(r.owner) {
			t.unplaced--
		}
		t.byMAC[r.owner] = r
	}
	t.file(r)
}

// forget removes a record; its address is free again.
func (t *table) forget(r *record) {
	r.unlist()
	delete(t.byAddr, r.Addr)
	t.states[r.State]--
	if t.plan.dynamic(r.Addr) {
		t.free.set(toUint32(r.Addr))
	}
	if t.byMAC[r.owner] == r {
		delete(t.byMAC, r.owner)
		if t.needsPlace(r.owner) {
			t.unplaced++
		}
	}
}

func (t *table) needsPlace(m mac) bool {
	_, reserved := t.plan.reserved[m]
	return t.plan.known[m] && !reserved
}

// set gives a record a new state and end.
func (t *table) set(r *record, s State, expires time.Time) {
	t.states[r.State]--
	t.states[s]++
	r.State, r.Expires = s, expires
	t.lastGen++
	r.gen = t.lastGen
	if s == StateDeclined && t.byMAC[r.owner] == r {
		delete(t.byMAC, r.owner) // the client must get another address
		if t.needsPlace(r.owner) {
			t.unplaced++
		}
	}
	t.file(r)
}

// quarantineFull reports whether so many addresses are out of use that no more
// may be: declining everything is an attack.
func (t *table) quarantineFull() bool { return t.states[StateDeclined] > t.size/4 }

// file puts a record into the heap of its state.
func (t *table) file(r *record) {
	r.unlist()
	switch r.State {
	case StateBound, StateOffered, StateDeclined, StateInUse:
		r.enlist(&t.due)
	case StateReleased, StateExpired:
		if t.plan.known[r.owner] {
			r.enlist(&t.idleKnown)
		} else {
			r.enlist(&t.idleStranger)
		}
	}
}

// expire ends what is over at now. Nothing needs to be stored for it: a stored
// lease whose end has passed says the same.
func (t *table) expire(now time.Time, ended func(Lease)) {
	for len(t.due) > 0 && !t.due[0].Expires.After(now) {
		r := t.due[0]
		switch {
		case r.State == StateBound:
			t.set(r, StateExpired, r.Expires)
			ended(r.Lease)
		case r.State == StateOffered && r.disk != nil && r.disk.State != StateDeclined && bytes.Equal(r.disk.MAC, r.MAC):
			t.set(r, StateExpired, r.disk.Expires) // it was this client's before the offer
		default:
			t.forget(r)
		}
	}
}

// choose finds an address for a client that has none that it may keep, and
// returns the idle record that must make way, if any. ok is false when there is
// nothing for this client.
func (t *table) choose(m mac) (a netip.Addr, old *record, ok bool) {
	if r, reserved := t.plan.reserved[m]; reserved && !t.blocked(m, r.Addr) {
		return r.Addr, t.byAddr[r.Addr], true
	}
	if !t.plan.known[m] && !t.strangersMayTake() {
		return netip.Addr{}, nil, false
	}
	for _, set := range []*bitmap{&t.ready, &t.free} {
		if n, ok := set.next(t.favourite(m)); ok {
			return toAddr(n), nil, true
		}
	}
	for _, h := range []*recordHeap{&t.idleStranger, &t.idleKnown} {
		if h == &t.idleKnown && !t.plan.known[m] {
			break
		}
		if r := h.oldest(t.plan); r != nil {
			return r.Addr, r, true
		}
	}
	return netip.Addr{}, nil, false
}

// strangersMayTake reports whether an address is left when every known client
// has got its own.
func (t *table) strangersMayTake() bool {
	return t.free.count+len(t.idleStranger) > t.unplaced
}

// favourite is where the search for a client's first address begins. A hash of
// the MAC gives it the same address again even after all state was lost.
func (t *table) favourite(m mac) uint32 {
	h := fnv.New32a()
	_, _ = h.Write(m[:])
	return t.plan.first + h.Sum32()%(t.plan.last-t.plan.first+1)
}

// load takes a stored lease over. The newest of several for one client wins.
func (t *table) load(l Lease, now time.Time) {
	m, ok := toMAC(l.MAC)
	if !ok || !l.Addr.Is4() || l.State == StateFree || l.State == StateOffered || t.byAddr[l.Addr] != nil {
		return
	}
	r := &record{Lease: l, owner: m, disk: &l}
	if prev := t.byMAC[m]; prev != nil && !l.State.outOfUse() {
		if prev.Expires.After(l.Expires) {
			return
		}
		t.forget(prev)
	}
	if l.State == StateBound && !l.Expires.After(now) {
		r.State = StateExpired
	}
	t.put(r)
}

// stored notes that the store has a record's change.
func (t *table) stored(r *record, l Lease) { r.disk = &l }

// revert makes a record what the store has, after a commit that failed. A later
// change of the record has its own commit and stays.
func (t *table) revert(r *record, gen uint64, now time.Time) {
	if r.gen != gen || t.byAddr[r.Addr] != r {
		return
	}
	t.forget(r)
	if r.disk != nil {
		t.load(*r.disk, now)
	}
}

// lease returns a copy that shares nothing with the table.
func (r *record) lease() Lease {
	l := r.Lease
	l.MAC = append(net.HardwareAddr(nil), l.MAC...)
	l.ClientID = append([]byte(nil), l.ClientID...)
	return l
}

func (r *record) enlist(h *recordHeap) {
	r.list = h
	heap.Push(h, r)
}

func (r *record) unlist() {
	if r.list != nil {
		heap.Remove(r.list, r.index)
		r.list = nil
	}
}

// recordHeap is a heap by Expires (container/heap).
type recordHeap []*record

func (h recordHeap) Len() int           { return len(h) }
func (h recordHeap) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }
func (h recordHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *recordHeap) Push(x any) {
	r := x.(*record)
	r.index = len(*h)
	*h = append(*h, r)
}
func (h *recordHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.index = -1
	return r
}

// oldest returns the longest unused record whose address the pool still has.
// Records outside it (an earlier configuration's) are skipped one by one.
func (h recordHeap) oldest(p *plan) *record {
	if len(h) > 0 && p.dynamic(h[0].Addr) {
		return h[0]
	}
	var best *record
	for _, r := range h {
		if p.dynamic(r.Addr) && (best == nil || r.Expires.Before(best.Expires)) {
			best = r
		}
	}
	return best
}
