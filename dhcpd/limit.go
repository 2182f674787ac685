package dhcpd

import (
	"hash/maphash"
	"time"
)

const (
	// stationRate is how many messages a second a station may send for long, and
	// stationBurst at once: a bridge speaks for some clients, a broken one never ends.
	stationRate  = 20
	stationBurst = 200
)

// limiter bounds what one station may ask, by its frames' source. It has a fixed size:
// stations whose MACs fall together share a place, and the later one starts afresh. Who
// invents a MAC for every frame is not held up by it, nor is anybody else.
type limiter struct {
	seed     maphash.Seed
	stations [4096]allowance
}

// allowance is when a station's messages are paid for.
type allowance struct {
	station mac
	until   time.Time
}

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// allow reports whether a station may send one more message.
func (l *limiter) allow(station mac, now time.Time) bool {
	a := &l.stations[maphash.Bytes(l.seed, station[:])%uint64(len(l.stations))]
	if a.station != station || a.until.Before(now) {
		a.station, a.until = station, now
	}
	next := a.until.Add(time.Second / stationRate)
	if next.Sub(now) > time.Second*stationBurst/stationRate {
		return false
	}
	a.until = next
	return true
}
