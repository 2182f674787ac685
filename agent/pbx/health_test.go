package pbx

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// step is a probe at a time after the start, and whether it restarts the exchange.
type step struct {
	at      time.Duration
	probe   probe
	restart bool
	state   HealthState
	held    string
}

func TestDoctor(t *testing.T) {
	well := probe{manager: true, sip: true, process: true}
	dead, hung := probe{}, probe{process: true}
	noSIP := probe{manager: true, process: true}
	stopped := func(p probe) probe { p.stopped = start; return p }
	paused := func(p probe) probe { p.paused = start.Add(time.Hour); return p }
	busy := func(p probe) probe { p.calls = 2; return p }
	for name, steps := range map[string][]step{
		"dead": {
			{0, well, false, Well, ""},
			{10 * time.Second, dead, false, Dead, ""}, // somebody else may restart it
			{14 * time.Second, dead, false, Dead, ""},
			{16 * time.Second, dead, true, Dead, ""},
			{20 * time.Second, dead, false, Dead, ""}, // it boots
			{25 * time.Second, well, false, Well, ""},
		},
		"dead from the start": {
			{time.Second, dead, false, Starting, ""},
			{6 * time.Second, dead, false, Dead, ""},
			{12 * time.Second, dead, true, Dead, ""},
		},
		"dead, whatever calls there were": {
			{0, well, false, Well, ""},
			{10 * time.Second, busy(dead), false, Dead, ""},
			{16 * time.Second, busy(dead), true, Dead, ""},
		},
		"hung": {
			{0, well, false, Well, ""},
			{10 * time.Second, hung, false, Hung, ""},
			{60 * time.Second, hung, false, Hung, ""},
			{71 * time.Second, hung, true, Hung, ""},
		},
		"hung with calls": {
			{0, well, false, Well, ""},
			{10 * time.Second, busy(hung), false, Hung, ""},
			{time.Hour, busy(hung), false, Hung, "2 calls go on"},
			{time.Hour + time.Second, hung, true, Hung, ""},
		},
		"deaf to SIP, with calls and without": {
			{0, well, false, Well, ""},
			{10 * time.Second, busy(noSIP), false, NoSIP, ""},
			{5 * time.Minute, busy(noSIP), false, NoSIP, "2 calls go on"},
			{6 * time.Minute, noSIP, true, NoSIP, ""},
		},
		"stopped by a person": {
			{0, well, false, Well, ""},
			{10 * time.Second, stopped(dead), false, Dead, "somebody has stopped it at " + clock(start) + ": it is started again at " + clock(start.Add(stopGrace))},
			{16 * time.Second, stopped(dead), false, Dead, "somebody has stopped it at " + clock(start) + ": it is started again at " + clock(start.Add(stopGrace))},
			{15 * time.Minute, stopped(dead), true, Dead, ""},
			{16 * time.Minute, well, false, Well, ""},
			{17 * time.Minute, stopped(dead), false, Dead, ""}, // that stop is over: it has died
			{18 * time.Minute, stopped(dead), true, Dead, ""},
		},
		"paused": {
			{0, well, false, Well, ""},
			{10 * time.Second, paused(dead), false, Dead, "it is left alone until " + clock(start.Add(time.Hour)) + " (pbx pause)"},
			{59 * time.Minute, paused(hung), false, Hung, "it is left alone until " + clock(start.Add(time.Hour)) + " (pbx pause)"},
			{time.Hour + time.Minute, paused(hung), true, Hung, ""},
		},
		"SIP is elsewhere than we believe": {
			{0, noSIP, false, Starting, ""},
			{time.Hour, noSIP, false, Starting, ""},
		},
		"phones work, the manager interface does not": {
			{0, well, false, Well, ""},
			{time.Minute, probe{sip: true, process: true}, false, NoManager, ""},
			{time.Hour, probe{sip: true, process: true}, false, NoManager, ""},
		},
		"the manager interface does not know us": {
			{0, well, false, Well, ""},
			{time.Minute, probe{refused: true, process: true}, false, NoManager, ""},
			{time.Hour, probe{refused: true, process: true}, false, NoManager, ""},
		},
		"dies again and again": {
			{0, well, false, Well, ""},
			{10 * time.Second, dead, false, Dead, ""},
			{20 * time.Second, dead, true, Dead, ""},
			{81 * time.Second, dead, true, Dead, ""},
			{142 * time.Second, dead, true, Dead, ""},
			{5 * time.Minute, dead, false, Dead, "it was started 3 times in 15m0s"},
			{16 * time.Minute, dead, true, Dead, ""}, // the first is forgotten
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoctor(start)
			for _, s := range steps {
				now := start.Add(s.at)
				restart := d.update(now, s.probe)
				if restart != s.restart || d.health.State != s.state || d.health.Held != s.held {
					t.Fatalf("after %v: restart %v, %s, held %q; want %v, %s, %q", s.at, restart, d.health.State, d.health.Held, s.restart, s.state, s.held)
				}
				if restart {
					d.restarted(now, "it was not well", false, nil)
				}
			}
		})
	}
}

func TestStory(t *testing.T) {
	d := newDoctor(start)
	well := probe{manager: true, sip: true, process: true}
	d.update(start, well)
	d.update(start.Add(10*time.Second), probe{})
	d.restarted(start.Add(16*time.Second), "it was not well", false, errors.New("no such unit"))
	d.update(start.Add(20*time.Second), probe{process: true})
	d.update(start.Add(30*time.Second), well)
	var story []string
	for _, e := range d.health.Story {
		story = append(story, e.What)
	}
	want := "answers; died: there is no process any more; was restarted (it was not well), which failed: no such unit; " +
		"does not answer, though its process is there; answers again after 20s"
	if got := strings.Join(story, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for i := range 100 {
		d.record(start, "%d", i)
	}
	if n := len(d.health.Story); n != maxStory || d.health.Story[n-1].What != "99" {
		t.Errorf("the story has %d entries", n)
	}
}

func TestSecretIsHidden(t *testing.T) {
	d := Desired{Extensions: []Extension{{Number: "100", Secret: "hush-hush"}}, ManagerSecret: "hush-hush", Gateway: &Gateway{Extension: Extension{Secret: "hush-hush"}}}
	for _, text := range printed(d) {
		if strings.Contains(text, "hush") || strings.Contains(text, "68757368") {
			t.Errorf("the secret shows: %s", text)
		}
	}
}
