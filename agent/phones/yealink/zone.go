package yealink

import (
	"fmt"
	"time"
)

// zone is a time zone as a phone has it.
type zone struct {
	offset string // from UTC, without summer time: "+1", "+5:30"
	// start and end of summer time as Month/Week/Weekday/Hour, where week 5 is the
	// last and weekday 7 is Sunday; both empty when there is none that a phone can keep.
	start, end string
	shift      time.Duration // of summer time
}

// zoneYears are years in which every zone follows the rule that it has for good.
// Several are needed: only they tell "the last Sunday" from "the fourth".
const firstZoneYear, lastZoneYear = 2030, 2037

// zoneOf reads a zone's rules from the IANA database.
func zoneOf(loc *time.Location) zone {
	var up, down *rule
	base := utcOffset(time.Date(firstZoneYear, 1, 1, 0, 0, 0, 0, time.UTC), loc)
	regular := true
	at := time.Date(firstZoneYear, 1, 1, 0, 0, 0, 0, time.UTC).In(loc)
	for {
		_, next := at.ZoneBounds()
		if next.IsZero() || next.Year() > lastZoneYear {
			break
		}
		before, after := utcOffset(next.Add(-time.Second), loc), utcOffset(next, loc)
		base = min(base, before, after)
		wall := next.UTC().Add(before)
		switch {
		case after > before:
			up, regular = up.merge(wall, after-before, regular)
		case after < before:
			down, regular = down.merge(wall, before-after, regular)
		}
		at = next
	}
	z := zone{offset: formatOffset(base)}
	const years = lastZoneYear - firstZoneYear + 1
	if up != nil && down != nil && regular && up.count == years && down.count == years && up.shift == down.shift {
		z.start, z.end, z.shift = up.format(), down.format(), up.shift
	}
	return z
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

// rule is one of the two changes of a year, learned from several years.
type rule struct {
	month   time.Month
	weekday time.Weekday
	hour    int
	nth     int // of its weekday in the month, 0 when it differs between the years
	last    bool
	shift   time.Duration
	count   int
}

// merge adds a change at a wall-clock time; regular stays true while all years
// follow one rule.
func (r *rule) merge(wall time.Time, shift time.Duration, regular bool) (*rule, bool) {
	now := rule{
		month: wall.Month(), weekday: wall.Weekday(), hour: wall.Hour(), nth: (wall.Day() + 6) / 7,
		last: wall.AddDate(0, 0, 7).Month() != wall.Month(), shift: shift, count: 1,
	}
	if wall.Minute() != 0 {
		regular = false
	}
	if r == nil {
		return &now, regular
	}
	same := r.month == now.month && r.weekday == now.weekday && r.hour == now.hour && r.shift == now.shift
	if r.nth != now.nth {
		r.nth = 0
	}
	r.last = r.last && now.last
	r.count++
	return r, regular && same && (r.nth != 0 || r.last)
}

func (r *rule) format() string {
	week, day := r.nth, int(r.weekday)
	if r.last {
		week = 5
	}
	if day == 0 {
		day = 7
	}
	return fmt.Sprintf("%d/%d/%d/%d", r.month, week, day, r.hour)
}
