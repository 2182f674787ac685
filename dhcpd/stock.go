package dhcpd

import (
	"net/netip"
	"time"
)

const (
	// cleanFor is how long an address that nobody claimed counts as unused.
	cleanFor = 2 * time.Minute
	// refreshAfter is the age at which an address of the stock is looked for again.
	refreshAfter = cleanFor - 20*time.Second
	// quietStock is how many addresses are kept ready while nobody comes.
	quietStock = 64
	// maxStock bounds them while many come, and maxAhead the probes of one sweep.
	maxStock = 8192
	maxAhead = 2048
	// sweepEvery is the time between sweeps: one probe each while nobody waits, since
	// switches with ARP inspection shut ports that send more than some dozen a second.
	// While somebody does it is busyEvery.
	sweepEvery = 100 * time.Millisecond
	busyEvery  = 20 * time.Millisecond
)

// stock is the free addresses of the link's pool that were looked for and not found,
// so that newcomers do not wait for ARP. The server's mutex guards it.
type stock struct {
	at    map[uint32]time.Time // when each was asked for; those with the pool's ready bit
	asked []swept              // those whose answer is still waited for, oldest first
	kept  []swept              // the others, oldest first; some are taken meanwhile
	last  uint32               // where the search for more goes on
	left  int                  // addresses of the first round, in which every one is asked for
	// taken counts the addresses that newcomers took since the last sweep, and rate
	// what they took in a second lately.
	taken int
	rate  float64
	swept time.Time
	idled time.Time // when an address was asked for last that the stock did not need
}

// swept is an address that was looked for ahead of need.
type swept struct {
	n  uint32
	at time.Time
}

// sweep brings the stock up to date and returns the addresses to look for. The first
// round through the pool finds the machines that are there already.
func (k *stock) sweep(now time.Time, p *pool, waiting int) (ask []netip.Addr) {
	k.measure(now)
	k.promote(now, p)
	room := 1
	if k.busy(p, waiting) {
		room = maxAhead
	}
	for room > 0 && len(k.kept) > 0 && now.Sub(k.kept[0].at) >= refreshAfter {
		w := k.kept[0]
		k.kept = k.kept[1:]
		if k.at[w.n] != w.at {
			continue // taken, or asked for again
		}
		if len(k.at) > k.target(p) {
			k.drop(p, w.n)
			continue
		}
		ask = append(ask, k.ask(w.n, now))
		room--
	}
	missing := k.target(p) - p.ready.count - len(k.asked)
	// Who comes needs no more than the stock: the first round is no quicker for it.
	if missing <= 0 && k.left > 0 && len(ask) == 0 && now.Sub(k.idled) >= sweepEvery {
		missing, k.idled = 1, now
	}
	for range p.ready.count + len(k.asked) + max(missing, 0) { // no more than once round
		n, ok := p.free.next(p.net.next(k.last))
		if !ok || room == 0 || missing <= 0 {
			break
		}
		k.last = n
		k.left--
		if !p.ready.has(n) {
			ask = append(ask, k.ask(n, now))
			missing, room = missing-1, room-1
		}
	}
	return ask
}

// busy reports whether newcomers wait, or soon will: those of half a second would empty
// the stock.
func (k *stock) busy(p *pool, waiting int) bool {
	return waiting > 0 || float64(p.ready.count) < k.rate/2
}

// target is how many addresses should be ready: for the newcomers of half a second,
// and some.
func (k *stock) target(p *pool) int {
	return min(quietStock+int(k.rate/2), maxStock, p.free.count)
}

// measure follows how many addresses are taken in a second.
func (k *stock) measure(now time.Time) {
	if past := now.Sub(k.swept).Seconds(); past > 0 && !k.swept.IsZero() {
		k.rate = max(float64(k.taken)/past, k.rate*max(0, 1-past))
	}
	k.taken, k.swept = 0, now
}

// promote has the addresses be ready that were asked for long enough ago.
func (k *stock) promote(now time.Time, p *pool) {
	for len(k.asked) > 0 && now.Sub(k.asked[0].at) >= probeWait {
		w := k.asked[0]
		k.asked = k.asked[1:]
		if p.free.has(w.n) {
			p.ready.set(w.n)
			k.at[w.n] = w.at
			k.kept = append(k.kept, w)
		}
	}
	for len(k.kept) > 0 && now.Sub(k.kept[0].at) >= cleanFor {
		if w := k.kept[0]; k.at[w.n] == w.at {
			k.drop(p, w.n)
		}
		k.kept = k.kept[1:]
	}
}

func (k *stock) ask(n uint32, now time.Time) netip.Addr {
	k.asked = append(k.asked, swept{n, now})
	return toAddr(n)
}

func (k *stock) drop(p *pool, n uint32) {
	p.ready.clear(n)
	delete(k.at, n)
}

// take returns when an address was last looked for, zero if it was not lately, and
// takes it out of the stock.
func (k *stock) take(n uint32) time.Time {
	at := k.at[n]
	delete(k.at, n)
	k.taken++
	return at
}
