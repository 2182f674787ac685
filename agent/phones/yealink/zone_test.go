package yealink

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var autumn = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestZones(t *testing.T) {
	week := func(offset, start, end string, shift time.Duration) zone {
		return zone{offset: offset, start: start, end: end, byWeek: true, shift: shift}
	}
	date := func(offset, start, end string) zone {
		return zone{offset: offset, start: start, end: end, shift: time.Hour}
	}
	chatham := week("+12:45", "9/5/7/3", "4/1/7/4", time.Hour)
	chatham.off = 15 * time.Minute
	for name, want := range map[string]zone{
		"Europe/Paris":        week("+1", "3/5/7/2", "10/5/7/3", time.Hour),
		"Europe/London":       week("+0", "3/5/7/1", "10/5/7/2", time.Hour),
		"Europe/Dublin":       week("+0", "3/5/7/1", "10/5/7/2", time.Hour),
		"Europe/Bucharest":    week("+2", "3/5/7/3", "10/5/7/4", time.Hour),
		"America/New_York":    week("-5", "3/2/7/2", "11/1/7/2", time.Hour),
		"America/Sao_Paulo":   {offset: "-3"},
		"America/St_Johns":    week("-3:30", "3/2/7/2", "11/1/7/2", time.Hour),
		"Asia/Kolkata":        {offset: "+5:30"},
		"Asia/Kathmandu":      {offset: "+5:45"},
		"Australia/Lord_Howe": week("+10:30", "10/1/7/2", "4/1/7/2", 30*time.Minute),
		"Pacific/Auckland":    week("+12", "9/5/7/2", "4/1/7/3", time.Hour),
		"Pacific/Chatham":     chatham,
		"Pacific/Kiritimati":  {offset: "+14"},
		"Asia/Jerusalem":      date("+2", "3/26/2", "10/25/2"),
		"America/Nuuk":        date("-2", "3/27/23", "10/25/0"), // the night to the last Sunday
		"Africa/Casablanca":   date("+0", "3/14/2", "2/7/3"),    // summer time but in Ramadan
		"UTC":                 {offset: "+0"},
	} {
		if diff := cmp.Diff(want, zoneOf(location(t, name), autumn), cmp.AllowUnexported(zone{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// clock is a phone's clock, as Yealink's administration guides describe the keys of a file.
type clock struct {
	base, shift time.Duration
	date        bool
	start, end  []int

	year     int // that summer is known of
	from, to time.Time
}

// readClock sets a clock by a phone's file.
func readClock(t *testing.T, file []byte) clock {
	t.Helper()
	keys := make(map[string]string)
	for line := range strings.Lines(string(file)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			keys[strings.TrimPrefix(key, "local_time.")] = value
		}
	}
	numbers := func(text string) (out []int) {
		for f := range strings.SplitSeq(text, "/") {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("%q of %v", text, keys)
			}
			out = append(out, n)
		}
		return out
	}
	hours, minutes, _ := strings.Cut(keys["time_zone"], ":")
	base, err := time.ParseDuration(hours + "h0" + minutes + "m")
	if err != nil {
		t.Fatal(err)
	}
	c := clock{base: base}
	if keys["summer_time"] != "1" {
		return c
	}
	c.date, c.start, c.end = keys["dst_time_type"] == "0", numbers(keys["start_time"]), numbers(keys["end_time"])
	c.shift = time.Duration(numbers(keys["offset_time"])[0]) * time.Minute
	if want := map[bool]int{true: 3, false: 4}[c.date]; len(c.start) != want || len(c.end) != want {
		t.Fatalf("%v to %v", c.start, c.end)
	}
	return c
}

// in is a change in a year, by what the clock shows before it.
func (c clock) in(year int, change []int) time.Time {
	if c.date {
		return time.Date(year, time.Month(change[0]), change[1], change[2], 0, 0, 0, time.UTC)
	}
	month, nth, weekday, hour := time.Month(change[0]), change[1], time.Weekday(change[2]%7), change[3]
	first := time.Date(year, month, 1, hour, 0, 0, 0, time.UTC)
	at := first.AddDate(0, 0, (int(weekday-first.Weekday())+7)%7+7*(nth-1))
	for at.Month() != month {
		at = at.AddDate(0, 0, -7)
	}
	return at
}

// offset is what the clock shows, less UTC.
func (c *clock) offset(t time.Time) time.Duration {
	if c.shift == 0 {
		return c.base
	}
	standard := t.UTC().Add(c.base)
	if y := standard.Year(); y != c.year {
		c.year, c.from, c.to = y, c.in(y, c.start), c.in(y, c.end).Add(-c.shift)
	}
	summer := !standard.Before(c.from) && standard.Before(c.to)
	if c.to.Before(c.from) {
		summer = !standard.Before(c.from) || standard.Before(c.to)
	}
	if summer {
		return c.base + c.shift
	}
	return c.base
}

func zoneNames(t *testing.T) (names []string) {
	data, err := os.ReadFile("testdata/zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// Every zone's clock is right at each hour of three years on a phone that fetches its file each week, and on one that
// does so three times a year. Where it is not, ClockError says so.
func TestClocksHourByHour(t *testing.T) {
	from, to := autumn, autumn.AddDate(3, 0, 0)
	names, right := zoneNames(t), 0
	for _, name := range names {
		loc := location(t, name)
		warned := ClockError(loc, from)
		var offsets []time.Duration
		for at := from; at.Before(to); at = at.Add(time.Hour) {
			offsets = append(offsets, utcOffset(at, loc))
		}
		for _, every := range []int{7, 120} {
			wrong, fetched, last := 0, 0, time.Time{}
			var c clock
			var file string
			for i, offset := range offsets {
				at := from.Add(time.Duration(i) * time.Hour)
				if at.Sub(last) >= time.Duration(every)*24*time.Hour {
					last = at
					if now := clockKeys(loc, at); string(now) != file {
						file, c = string(now), readClock(t, now)
						fetched++
					}
				}
				if c.offset(at) != offset {
					wrong++
				}
			}
			if wrong > 0 && warned == 0 || wrong > 2*4 {
				t.Errorf("%s: wrong in %d hours with a file every %d days:\n%s", name, wrong, every, file)
			}
			if fetched > 8 {
				t.Errorf("%s: %d files in three years", name, fetched)
			}
		}
		if warned == 0 {
			right++
		}
	}
	t.Logf("%d of %d zones are right in every hour", right, len(names))
	if right < len(names)-2 { // Pacific/Chatham and its other name
		t.Errorf("only %d of %d", right, len(names))
	}
}

func clockKeys(loc *time.Location, now time.Time) []byte {
	f := newFile()
	Site{Zone: loc}.At(now).locale(f)
	return f.bytes()
}

// The clock is right to the second around every change, or at most as wrong as ClockError says.
func TestClocksAroundChanges(t *testing.T) {
	for _, name := range zoneNames(t) {
		loc := location(t, name)
		for _, ch := range clockChanges(loc, autumn.AddDate(0, -6, 0)) {
			off := ClockError(loc, ch.at)
			c := readClock(t, clockKeys(loc, ch.at.AddDate(0, 0, -1)))
			for _, d := range []time.Duration{-off - time.Second, off, 24 * time.Hour} {
				if at := ch.at.Add(d); c.offset(at) != utcOffset(at, loc) {
					t.Errorf("%s: %v after the change at %v: %v, not %v", name, d, ch.at, c.offset(at), utcOffset(at, loc))
				}
			}
		}
	}
}

// The dates are other ones only twice a year, and long after the change that they were needed for.
func TestDatesChangeLate(t *testing.T) {
	loc := location(t, "Asia/Jerusalem")
	var got []string
	for at, was := autumn, ""; at.Before(autumn.AddDate(1, 0, 0)); at = at.AddDate(0, 0, 1) {
		z := zoneOf(loc, at)
		if now := z.start + " " + z.end; now != was {
			got, was = append(got, fmt.Sprintf("%s: %s", at.Format(time.DateOnly), now)), now
		}
	}
	want := []string{"2026-11-01: 3/26/2 10/25/2", "2026-12-24: 3/26/2 10/31/2", "2027-05-25: 3/24/2 10/31/2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
