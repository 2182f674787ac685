package yealink

import (
	"fmt"
	"time"
)

// zone is a time zone as a phone has it.
type zone struct {
	offset string // from UTC, without summer time: "+1", "+5:30"
	// start and end of summer time, both empty when the clock does not change. byWeek tells their two forms apart:
	// Month/Week/Weekday/Hour, where week 5 is the last and weekday 7 is Sunday, or Month/Day/Hour.
	start, end string
	byWeek     bool
	shift      time.Duration // of summer time
	// off is by how much the clock changes too early or too late, for a phone changes it on the hour only.
	off time.Duration
}

const (
	// learned is how many years a rule by week is learned from: only several tell "the last Sunday" from "the fourth".
	learned = 8
	// year is shorter than every year, so that a date in less than a year comes once until then.
	year = 365 * 24 * time.Hour
	// dateMargin is how long the dates of a change stay in the file after it. All dates in a file are then right for
	// many months: those of the next change long before a phone needs them.
	dateMargin = 60 * 24 * time.Hour
)

// ClockError returns by how much the phones' clocks are wrong at most around a change of the clock: nearly everywhere 0.
func ClockError(loc *time.Location, now time.Time) time.Duration { return zoneOf(loc, now).off }

// SameClock reports whether files of two times say the same of the clock.
func SameClock(loc *time.Location, a, b time.Time) bool {
	return loc == nil || zoneOf(loc, a) == zoneOf(loc, b)
}

// zoneOf reads a zone's rules from the IANA database. Where the clock changes by no rule that a phone has, as around
// Ramadan, the dates of the next two changes are given, and others later.
func zoneOf(loc *time.Location, now time.Time) zone {
	changes := clockChanges(loc, now.Add(-dateMargin))
	if len(changes) < 2 || !undo(changes[0], changes[1]) {
		return zone{offset: formatOffset(utcOffset(now, loc))}
	}
	up, down := changes.only(true), changes.only(false)
	z := zone{offset: formatOffset(up[0].before), byWeek: up.regular() && down.regular(), shift: up[0].after - up[0].before}
	var early time.Duration
	z.start, z.off = up.format(z.byWeek)
	z.end, early = down.format(z.byWeek)
	z.off = max(z.off, early)
	return z
}

// change is one change of a zone's clock.
type change struct {
	at            time.Time
	before, after time.Duration // from UTC
}

// wall is what the clock shows when it is changed.
func (c change) wall() time.Time { return c.at.UTC().Add(c.before) }

// undo reports whether b takes back what a does, within a year: a file can hold no other two changes.
func undo(a, b change) bool {
	return a.before == b.after && a.after == b.before && b.at.Sub(a.at) < year
}

// changes are changes of one zone's clock, by time.
type changes []change

// clockChanges returns the changes of the next years. The first one of them is less than a year ahead.
func clockChanges(loc *time.Location, from time.Time) (out changes) {
	for at := from.In(loc); len(out) < 2*learned; {
		_, next := at.ZoneBounds()
		if next.IsZero() || len(out) == 0 && next.Sub(from) > year {
			break
		}
		if !next.After(at) {
			// Far ahead, the time package takes every year for one of 365 days: on the last day of a leap year the
			// zone's bounds end before they begin. Nothing changes on that day.
			next = at.AddDate(0, 0, 1)
		}
		if c := (change{next, utcOffset(next.Add(-time.Second), loc), utcOffset(next, loc)}); c.before != c.after {
			out = append(out, c)
		}
		at = next
	}
	return out
}

// only returns the changes that put the clock forward, or those that put it back.
func (cs changes) only(forward bool) (out changes) {
	for _, c := range cs {
		if (c.after > c.before) == forward {
			out = append(out, c)
		}
	}
	return out
}

// regular reports whether the changes follow one rule by week, one in each year.
func (cs changes) regular() bool {
	first := cs[0].wall()
	for i, c := range cs {
		w := c.wall()
		if c.before != cs[0].before || c.after != cs[0].after || w.Year() != first.Year()+i ||
			w.Month() != first.Month() || w.Weekday() != first.Weekday() || w.Hour() != first.Hour() {
			return false
		}
	}
	return len(cs) == learned && cs.week() != 0
}

// week is the week of the month in which all changes are: 5 for the last, 0 when it differs.
func (cs changes) week() int {
	nth, last := 0, true
	for i, c := range cs {
		w := c.wall()
		n := (w.Day() + 6) / 7
		if i == 0 {
			nth = n
		}
		if nth != n {
			nth = 0
		}
		last = last && w.AddDate(0, 0, 7).Month() != w.Month()
	}
	if last {
		return 5
	}
	return nth
}

// format writes the next change, and tells how far it is from the full hour.
func (cs changes) format(byWeek bool) (text string, off time.Duration) {
	exact := cs[0].wall()
	w := exact.Round(time.Hour)
	if w.Day() != exact.Day() {
		w = exact.Truncate(time.Hour) // the week and the weekday are of that day
	}
	off = exact.Sub(w).Abs()
	if !byWeek {
		return fmt.Sprintf("%d/%d/%d", w.Month(), w.Day(), w.Hour()), off
	}
	return fmt.Sprintf("%d/%d/%d/%d", w.Month(), cs.week(), (int(w.Weekday())+6)%7+1, w.Hour()), off
}

func utcOffset(t time.Time, loc *time.Location) time.Duration {
	_, seconds := t.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

func formatOffset(d time.Duration) string {
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	if m := int(d/time.Minute) % 60; m != 0 {
		return fmt.Sprintf("%s%d:%02d", sign, int(d/time.Hour), m)
	}
	return fmt.Sprintf("%s%d", sign, int(d/time.Hour))
}
