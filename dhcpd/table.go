package dhcpd

import (
	"container/heap"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"
)

// offerTime is how long an offered address is kept for its client: long enough
// for one that collects offers and repeats its REQUEST once.
const offerTime = 20 * time.Second

// declineTime is how long an address that somebody else uses is left alone. A
// day (Kea's default) has emptied pools in the field; minutes are enough for a
// person to mend it.
const declineTime = 15 * time.Minute

// record is an address that somebody has, had, or was offered. The bytes of its MAC
// and client identifier are never changed, only replaced, so that copies of the Lease
// may share them.
type record struct {
	Lease
	owner mac
	gen   uint64 // of the latest change, so that a failed commit does not undo a later one
	disk  onDisk // what the store has at this address
	// leaves is the client's earlier address, to be deleted from the store with the next change.
	leaves  netip.Addr
	via     mac       // the station whose REQUEST was acknowledged: the client, or its relay
	claimer mac       // who else answered for the leased address
	checked time.Time // until when the address was held by us, or when it was looked for
	doubted time.Time // when the client declined it long after its ACK
	list    *recordHeap
	index   int // in list
}

// onDisk is what the store has at an address: what must come back when a change of
// it cannot be stored. Most of a large site's memory is records, so it is no Lease.
type onDisk struct {
	owner          mac
	state          State // StateFree: nothing
	start, expires int64 // nanoseconds since 1970, server's time; 0: none
}

func diskOf(owner mac, l *Lease) onDisk {
	return onDisk{owner: owner, state: l.State, start: toNanos(l.Start), expires: toNanos(l.Expires)}
}

func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// stored is the lease that the store has at the record's address. Of another client's
// it has no names; they are in the store.
func (r *record) stored() Lease {
	l := Lease{Addr: r.Addr, MAC: r.disk.owner.hw(), State: r.disk.state, Start: fromNanos(r.disk.start), Expires: fromNanos(r.disk.expires)}
	if r.disk.owner == r.owner {
		l.ClientID, l.Hostname, l.VendorClass = r.ClientID, r.Hostname, r.VendorClass
	}
	return l
}

// table is the server's memory of its addresses. It does no I/O. Times are the
// server's own (see clock). Everything is O(log n): a pool of 50,000 must be as
// quick as one of 100.
type table struct {
	plan   *plan
	byAddr map[netip.Addr]*record
	byMAC  map[mac]*record // at most one address a client
	pools  []*pool         // of the plan's networks
	due    recordHeap      // bound, offered, declined, by Expires
	// unplaced counts known clients that have no address yet, and no reservation.
	unplaced int
	inUse    map[mac]netip.Addr // where a client without a lease of ours was found
	states   [stateCount]int
	lastGen  uint64
	stock    stock
	classes  map[string]string // vendor classes as they were sent, and cleaned
	replies  sync.Pool         // of *reply
}

// pool is the addresses of one network that are given to whoever comes.
type pool struct {
	net   *network
	free  bitmap // those without a record
	ready bitmap // of these, the ones that were lately looked for on the LAN and not found
	size  int
	// Released and expired records, longest unused first. Known clients' are apart:
	// strangers do not get them.
	idleStranger, idleKnown recordHeap
}

func newTable(p *plan) *table {
	t := &table{byAddr: make(map[netip.Addr]*record), byMAC: make(map[mac]*record), inUse: make(map[mac]netip.Addr), classes: make(map[string]string)}
	t.setPlan(p)
	return t
}

// setPlan puts the records under a new plan.
func (t *table) setPlan(p *plan) {
	t.plan = p
	t.pools = nil
	for _, n := range p.nets {
		t.pools = append(t.pools, t.newPool(n))
	}
	t.stock = stock{at: make(map[uint32]time.Time), left: t.pools[0].size}
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

func (t *table) newPool(n *network) *pool {
	p := &pool{net: n, free: newBitmap(n.first, n.last), ready: newBitmap(n.first, n.last)}
	for i := n.first; ; i++ {
		if a := toAddr(i); t.plan.dynamic(a) {
			p.size++
			if t.byAddr[a] == nil {
				p.free.set(i)
			}
		}
		if i == n.last {
			return p
		}
	}
}

// poolOf returns the pool that an address is of, or nil.
func (t *table) poolOf(a netip.Addr) *pool {
	if !t.plan.dynamic(a) {
		return nil
	}
	return t.pools[networkOf(t.plan.nets, a).index]
}

// size is how many addresses the pools have; free is how many nobody has or had.
func (t *table) size() (all, free int) {
	for _, p := range t.pools {
		all, free = all+p.size, free+p.free.count
	}
	return all, free
}

// usable reports whether the plan lets the client m have the address in network n.
func (t *table) usable(n *network, m mac, a netip.Addr) bool {
	if r, ok := t.reservation(n, m); ok {
		return r == a
	}
	return n.subnet.Contains(a) && t.plan.dynamic(a)
}

// reservation returns the address that the plan has for the client m in network n,
// if it is not blocked.
func (t *table) reservation(n *network, m mac) (netip.Addr, bool) {
	r, ok := t.plan.reserved[m]
	return r.Addr, ok && n.subnet.Contains(r.Addr) && !t.blocked(m, r.Addr)
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
	if p := t.poolOf(r.Addr); p != nil {
		p.free.clear(toUint32(r.Addr))
		p.ready.clear(toUint32(r.Addr))
	}
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
	if p := t.poolOf(r.Addr); p != nil {
		p.free.set(toUint32(r.Addr))
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
func (t *table) quarantineFull() bool {
	all, _ := t.size()
	return t.states[StateDeclined] > all/4
}

// file puts a record into the heap of its state.
func (t *table) file(r *record) {
	r.unlist()
	switch r.State {
	case StateBound, StateOffered, StateDeclined, StateInUse:
		r.enlist(&t.due)
	case StateReleased, StateExpired:
		switch p := t.poolOf(r.Addr); {
		case p == nil: // a reservation's, or an earlier configuration's
		case t.plan.known[r.owner]:
			r.enlist(&p.idleKnown)
		default:
			r.enlist(&p.idleStranger)
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
			r.checked = now
			ended(r.Lease)
		case r.State == StateOffered && r.disk.state != StateFree && r.disk.state != StateDeclined && r.disk.owner == r.owner:
			t.set(r, StateExpired, fromNanos(r.disk.expires)) // it was this client's before the offer
		default:
			t.forget(r)
		}
	}
}

// choose finds an address in network n for a client that has none that it may keep,
// and returns the idle record that must make way, if any. ok is false when there is
// nothing for this client.
func (t *table) choose(n *network, m mac) (a netip.Addr, old *record, ok bool) {
	if r, reserved := t.reservation(n, m); reserved {
		return r, t.byAddr[r], true
	}
	if !t.plan.known[m] && !t.strangersMayTake(n) {
		return netip.Addr{}, nil, false
	}
	p := t.pools[n.index]
	for _, set := range []*bitmap{&p.ready, &p.free} {
		if i, ok := set.next(n.favourite(m)); ok {
			return toAddr(i), nil, true
		}
	}
	for _, h := range []*recordHeap{&p.idleStranger, &p.idleKnown} {
		if h == &p.idleKnown && !t.plan.known[m] {
			break
		}
		if len(*h) > 0 {
			return (*h)[0].Addr, (*h)[0], true
		}
	}
	return netip.Addr{}, nil, false
}

// strangersMayTake reports whether an address of network n is left when every known
// client has got its own. Where several networks are served nobody can tell in which
// of them a client will appear: three quarters of each are held back at most.
func (t *table) strangersMayTake(n *network) bool {
	p, held := t.pools[n.index], t.unplaced
	if len(t.pools) > 1 {
		held = min(held, p.size*3/4)
	}
	return p.free.count+len(p.idleStranger) > held
}

// favourite is where the search for a client's first address begins. A hash of
// the MAC gives it the same address again even after all state was lost.
func (n *network) favourite(m mac) uint32 {
	h := fnv.New32a()
	_, _ = h.Write(m[:])
	return n.first + h.Sum32()%(n.last-n.first+1)
}

// load takes a stored lease over. The newest of several for one client wins.
func (t *table) load(l Lease, now time.Time) {
	m, ok := toMAC(l.MAC)
	if !ok || !l.Addr.Is4() || l.State == StateFree || l.State == StateOffered || t.byAddr[l.Addr] != nil {
		return
	}
	l.VendorClass = t.className([]byte(l.VendorClass))
	r := &record{Lease: l, owner: m, disk: diskOf(m, &l)}
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

// revert makes a record what the store has, after a commit that failed. A later
// change of the record has its own commit and stays.
func (t *table) revert(r *record, gen uint64, now time.Time) {
	if r.gen != gen || t.byAddr[r.Addr] != r {
		return
	}
	t.forget(r)
	if r.disk.state != StateFree {
		t.load(r.stored(), now)
	}
}

// heldBy reports whether a station may give the lease up. Without its MAC, which the
// frame tells, nobody can speak for a client. Until the first ACK since the server
// started only the client itself can.
func (r *record) heldBy(station mac) bool {
	if r.via == (mac{}) {
		return station == r.owner
	}
	return station == r.via
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
