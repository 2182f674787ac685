package pbx

import (
	"fmt"
	"time"
)

// Limits of restarts. An exchange that dies again and again needs a person.
const (
	maxRestarts   = 3
	restartWindow = 15 * time.Minute
	// deadGrace is for whoever else restarts it (systemd, safe_asterisk), and for a restart by hand.
	deadGrace = 5 * time.Second
	// hungGrace is for an exchange that is there and does not answer: it may be booting.
	hungGrace = time.Minute
	// stopGrace is for an exchange that somebody has stopped in order: for work on it, or by mistake.
	stopGrace = 15 * time.Minute
)

// HealthState is how an exchange is.
type HealthState string

// States of an exchange.
const (
	Starting  HealthState = "starting"   // not seen well yet
	Well      HealthState = "well"       // manager interface and SIP answer
	NoSIP     HealthState = "no_sip"     // it lives, but does not answer phones
	NoManager HealthState = "no_manager" // it lives, but its manager interface does not answer
	Hung      HealthState = "hung"       // its process lives and answers nobody
	Dead      HealthState = "dead"       // there is no process
)

// probe is what was found out about the exchange at one moment.
type probe struct {
	manager bool
	refused bool // the manager interface answers, and does not take us in
	sip     bool
	process bool
	calls   int       // as last observed, when manager is false
	stopped time.Time // when somebody stopped it in order; zero: nobody did
	paused  time.Time // until when it is to be left alone
}

// state puts a probe into one word.
func (p probe) state() HealthState {
	switch {
	case p.manager && p.sip:
		return Well
	case p.manager:
		return NoSIP
	case p.sip, p.refused: // it lives; a restart would only end calls
		return NoManager
	case p.process:
		return Hung
	}
	return Dead
}

// Health is how the exchange is, and what became of it.
type Health struct {
	State HealthState
	Since time.Time
	// Why is what does not answer, in words; empty when all is well.
	Why string
	// Restarts are those of the last 15 minutes that nobody has ordered.
	Restarts []time.Time
	// Held says why an exchange that is not well is not started again now; empty: it is, or it is well.
	Held string
	// Story is what has happened, newest last.
	Story []Event
}

// Event is one thing that has happened to the exchange.
type Event struct {
	At   time.Time
	What string
}

const maxStory = 20

// doctor decides when to restart the exchange. It does nothing itself, and knows the time only from its caller.
type doctor struct {
	health Health
	// sipSeen: SIP has answered once. An exchange that listens elsewhere than we believe must not be restarted for it.
	sipSeen bool
	ill     time.Time // since when it is not well
	started time.Time // when it was last started by us, for whatever reason
}

func newDoctor(now time.Time) doctor {
	return doctor{health: Health{State: Starting, Since: now}, ill: now}
}

func (d *doctor) record(now time.Time, format string, args ...any) {
	d.health.Story = append(d.health.Story, Event{now, fmt.Sprintf(format, args...)})
	if n := len(d.health.Story); n > maxStory {
		d.health.Story = append([]Event(nil), d.health.Story[n-maxStory:]...)
	}
}

// update takes a probe in and reports whether the exchange should be restarted now.
func (d *doctor) update(now time.Time, p probe) bool {
	h := &d.health
	d.sipSeen = d.sipSeen || p.sip
	state := p.state()
	if state == NoSIP && !d.sipSeen && h.State != Well {
		state = Starting
	}
	if h.State == Starting && state != Well && now.Sub(h.Since) < deadGrace {
		return false // the first answers are on their way
	}
	if state != h.State {
		d.changed(now, state, p)
	}
	for len(h.Restarts) > 0 && now.Sub(h.Restarts[0]) > restartWindow {
		h.Restarts = h.Restarts[1:]
	}
	h.Held = ""
	if state == Well || state == Starting || state == NoManager {
		return false
	}
	patience := hungGrace
	if state == Dead {
		patience = deadGrace
	}
	last := h.Since
	if d.started.After(last) {
		last = d.started // it may be booting
		patience = hungGrace
	}
	switch {
	case now.Before(p.paused):
		h.Held = "it is left alone until " + clock(p.paused) + " (pbx pause)"
		return false
	case state == Dead && d.started.Before(p.stopped) && now.Sub(p.stopped) < stopGrace:
		h.Held = fmt.Sprintf("somebody has stopped it at %s: it is started again at %s", clock(p.stopped), clock(p.stopped.Add(stopGrace)))
		return false
	case now.Sub(last) < patience:
		return false
	case state != Dead && p.calls > 0:
		h.Held = fmt.Sprintf("%d calls go on", p.calls)
		return false
	case len(h.Restarts) >= maxRestarts:
		h.Held = fmt.Sprintf("it was started %d times in %v", len(h.Restarts), restartWindow)
		return false
	}
	return true
}

func (d *doctor) changed(now time.Time, state HealthState, p probe) {
	h := &d.health
	if h.State == Well {
		d.ill = now
	}
	switch {
	case state == Well && h.State == Starting:
		d.record(now, "answers")
	case state == Well:
		d.record(now, "answers again after %v", now.Sub(d.ill).Round(time.Second))
	case state == Dead && d.started.Before(p.stopped):
		d.record(now, "was stopped by somebody")
	case state == Dead:
		d.record(now, "died: there is no process any more")
	case state == Hung:
		d.record(now, "does not answer, though its process is there")
	case state == NoSIP:
		d.record(now, "does not answer SIP")
	case state == NoManager:
		d.record(now, "does not answer on its manager interface")
	}
	h.State, h.Since = state, now
}

func clock(t time.Time) string { return t.Local().Format("15:04") }

// restarted notes an attempt to start the exchange. One that was ordered is nothing to worry about.
func (d *doctor) restarted(now time.Time, why string, ordered bool, err error) {
	d.started = now
	if !ordered {
		d.health.Restarts = append(d.health.Restarts, now)
	}
	if err != nil {
		d.record(now, "was restarted (%s), which failed: %v", why, err)
		return
	}
	d.record(now, "was restarted (%s)", why)
}
