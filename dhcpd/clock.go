package dhcpd

import "time"

// clock tells the server's own time: it begins as the wall clock and then goes
// on evenly. A lease must not end, or last for ever, because somebody set the
// wall clock (a machine without a battery starts in 1970).
type clock struct {
	start time.Time // with its monotonic reading
	wall  func() time.Time
}

func newClock(wall func() time.Time) clock { return clock{start: time.Now(), wall: wall} }

// now is the server's time.
func (c clock) now() time.Time { return c.start.Round(0).Add(time.Since(c.start)) }

// ahead is how much the wall clock is ahead of the server's time.
func (c clock) ahead() time.Duration { return c.wall().Round(0).Sub(c.now()) }

// toWall returns the lease with wall-clock times.
func toWall(l Lease, ahead time.Duration) Lease {
	l.Start, l.Expires = shift(l.Start, ahead), shift(l.Expires, ahead)
	return l
}

// fromWall returns a stored lease in the server's time. What is left of it is
// never more than a whole lease: it was stored under another clock then.
func fromWall(l Lease, c clock, longest time.Duration) Lease {
	l = toWall(l, -c.ahead())
	if latest := c.now().Add(longest); l.Expires.After(latest) {
		l.Expires = latest
	}
	return l
}

func shift(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}
