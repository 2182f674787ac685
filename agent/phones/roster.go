package phones

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
	"time"
)

// maxUnknown bounds the phones that nobody has named: their MACs are anybody's to invent.
const maxUnknown = 1000

// seen is what was seen of a phone since the start.
type seen struct {
	mac       net.HardwareAddr
	addr      netip.Addr
	model     string // what it seems to be
	firmware  string
	circuit   string // the switch port, from a relay's option 82
	first     time.Time
	last      time.Time
	lastFetch time.Time
	lastFile  string
	served    [sha256.Size]byte // of what it fetched
	stale     bool              // its file is another one since
	unsure    bool              // whether it is is not known yet
	alert     string
	alertAt   time.Time
	boot      boot
	// registered is when the exchange was last heard to accept it.
	registered time.Time

	unknown *list.Element // its place in roster.unknown; nil for a named phone
}

// roster holds the phones that were seen: all that are named, and of others the maxUnknown that were heard of last.
// A frame with an invented MAC costs the same however many phones are kept.
type roster struct {
	named   func(mac net.HardwareAddr) bool
	byKey   map[string]*seen
	unknown *list.List // of *seen, the one heard of last in front
}

func newRoster(named func(mac net.HardwareAddr) bool) *roster {
	return &roster{named: named, byKey: make(map[string]*seen), unknown: list.New()}
}

// get returns what was seen of a phone; nil for nothing.
func (r *roster) get(mac net.HardwareAddr) *seen { return r.byKey[key(mac)] }

// add begins to keep track of a phone that was not seen yet. An unknown one takes the place of the unknown one that was
// silent longest when there are too many.
func (r *roster) add(mac net.HardwareAddr) *seen {
	p := &seen{mac: slices.Clone(mac)}
	r.byKey[key(mac)] = p
	if !r.named(mac) {
		p.unknown = r.unknown.PushFront(p)
		r.trim()
	}
	return p
}

// heard notes that a phone was heard of now.
func (r *roster) heard(p *seen, now time.Time) {
	if p.first.IsZero() {
		p.first = now
	}
	p.last = now
	if p.unknown != nil {
		r.unknown.MoveToFront(p.unknown)
	}
}

// remove forgets a phone.
func (r *roster) remove(mac net.HardwareAddr) {
	p := r.get(mac)
	if p == nil {
		return
	}
	if p.unknown != nil {
		r.unknown.Remove(p.unknown)
	}
	delete(r.byKey, key(mac))
}

// trim forgets the unknown phones that are too many.
func (r *roster) trim() {
	for r.unknown.Len() > maxUnknown {
		r.remove(r.unknown.Back().Value.(*seen).mac)
	}
}

// reclassify recomputes which phones are named, after the names have changed.
func (r *roster) reclassify() {
	var unknown []*seen
	for _, p := range r.byKey {
		was := p.unknown != nil
		p.unknown = nil
		if !r.named(p.mac) {
			unknown = append(unknown, p)
		} else if was {
			p.unsure = true // what it fetched was not a named phone's file
		}
	}
	slices.SortFunc(unknown, func(a, b *seen) int { return cmp.Or(a.last.Compare(b.last), slices.Compare(a.mac, b.mac)) })
	r.unknown.Init()
	for _, p := range unknown {
		p.unknown = r.unknown.PushFront(p)
	}
	r.trim()
}
