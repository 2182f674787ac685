package backup

import (
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
)

// One backup in each window, also over midnight, and none outside.
func TestBackupDue(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 9, day, hour, minute, 0, 0, time.UTC) }
	night := config.TimeWindow{Start: 23 * 60, End: 1 * 60}
	for name, c := range map[string]struct {
		window      config.TimeWindow
		now, newest time.Time
		want        bool
	}{
		"off":                              {config.TimeWindow{Off: true}, at(2, 23, 30), time.Time{}, false},
		"none yet":                         {night, at(2, 23, 0), time.Time{}, true},
		"before the window":                {night, at(2, 22, 59), time.Time{}, false},
		"at its end":                       {night, at(3, 1, 0), time.Time{}, false},
		"after midnight":                   {night, at(3, 0, 59), at(1, 23, 10), true},
		"made in this window":              {night, at(3, 0, 59), at(2, 23, 10), false},
		"made by hand before this window":  {night, at(2, 23, 5), at(2, 12, 0), true},
		"a window that does not span days": {config.TimeWindow{Start: 60, End: 120}, at(2, 1, 30), at(1, 1, 30), true},
	} {
		if got := backupDue(c.window, c.now, c.newest); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
