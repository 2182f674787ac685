package pbx

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

const (
	// maxChannels bounds the calls that are followed for the log.
	maxChannels = 2000
	// maxCalls is how many calls that are over are kept.
	maxCalls = 200
)

// Call is a call between accounts of the exchange, or with the outside.
type Call struct {
	From, To string
	Began    time.Time
	Answered time.Time // zero: it was not, or it is not known when
	Ended    time.Time // zero: it goes on
	Up       bool      // both sides talk, or did
}

// callLog writes a line when a call begins, is answered and ends, once for each extension that takes part, and keeps the
// calls that are over. Current calls come from observe.
type callLog struct {
	log      *slog.Logger
	channels map[string]*callLeg  // by channel; only the goroutine that reads events touches it
	follows  map[string]*followed // by the ID that the channels of a call share; so is this

	mu   sync.Mutex // guards the following
	over []Call     // the newest last
}

// callLeg is one extension's part in a call.
type callLeg struct {
	extension, peer string
	answered        time.Time
}

// followed is a call with its channels, and which of them are up.
type followed struct {
	Call
	channels map[string]bool
}

func newCallLog(log *slog.Logger) *callLog {
	return &callLog{log: log, channels: make(map[string]*callLeg), follows: make(map[string]*followed)}
}

// reset forgets calls whose end nobody has seen.
func (c *callLog) reset() {
	clear(c.channels)
	clear(c.follows)
}

func (c *callLog) event(m ami.Message) {
	switch m.Event() {
	case "Newchannel":
		if dialled := m.Get("Exten"); dialled != "" && dialled != "s" {
			c.began(m.Get("Channel"), dialled)
		}
	case "DialBegin":
		if caller := c.channels[m.Get("Channel")]; caller != nil {
			c.began(m.Get("DestChannel"), caller.extension)
		}
	case "Newstate":
		if l := c.channels[m.Get("Channel")]; l != nil && m.Get("ChannelStateDesc") == "Up" && l.answered.IsZero() {
			l.answered = time.Now()
			c.log.Info("call answered", "extension", l.extension, "peer", l.peer)
		}
	case "Hangup":
		c.ended(m.Get("Channel"))
	}
	c.follow(m, time.Now())
}

// follow notes what an event says of the call whose channel it is about.
func (c *callLog) follow(m ami.Message, now time.Time) {
	id, channel := m.Get("Linkedid"), m.Get("Channel")
	call := c.follows[id]
	switch m.Event() {
	case "Newchannel":
		if call == nil && id != "" && len(c.follows) < maxChannels {
			call = &followed{Call: Call{From: partyOf(m), To: dialled(m), Began: now}, channels: make(map[string]bool)}
			c.follows[id] = call
		} else if call != nil && call.To == "" {
			call.To = partyOf(m)
		}
		if call != nil {
			call.channels[channel] = false
		}
	case "Newstate":
		if call == nil || m.Get("ChannelStateDesc") != "Up" {
			return
		}
		call.channels[channel] = true
		if !call.Up && talking(call.channels, call.To) {
			call.Up, call.Answered = true, now
		}
	case "Hangup":
		if call == nil {
			return
		}
		if delete(call.channels, channel); len(call.channels) == 0 {
			delete(c.follows, id)
			call.Ended = now
			c.keep(call.Call)
		}
	}
}

// talking reports whether a call's sides are up: two of them, or the one that talks to the exchange itself.
func talking(channels map[string]bool, to string) bool {
	up := 0
	for _, is := range channels {
		if is {
			up++
		}
	}
	return up >= 2 || up == 1 && len(channels) == 1 && to != ""
}

func (c *callLog) keep(call Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.over) >= maxCalls {
		c.over = slices.Delete(c.over, 0, len(c.over)-maxCalls+1)
	}
	c.over = append(c.over, call)
}

// recent returns the calls that are over, the newest last.
func (c *callLog) recent() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.over)
}

// callsNow makes calls of the channels that there are, those that began first first.
func callsNow(channels []ami.Message, now time.Time) []Call {
	found := make(map[string]*followed)
	slices.SortFunc(channels, func(a, b ami.Message) int { return cmp.Compare(lasted(b), lasted(a)) })
	for _, m := range channels {
		id := cmp.Or(m.Get("Linkedid"), m.Get("Uniqueid"))
		call := found[id]
		switch {
		case call == nil:
			call = &followed{Call: Call{From: partyOf(m), To: dialled(m), Began: now.Add(-lasted(m))}, channels: make(map[string]bool)}
			found[id] = call
		case m.Get("Uniqueid") == id: // the caller's, which is as old as the other
			call.From, call.To = partyOf(m), cmp.Or(dialled(m), call.From)
		case call.To == "":
			call.To = partyOf(m)
		}
		call.channels[m.Get("Channel")] = m.Get("ChannelStateDesc") == "Up"
	}
	var out []Call
	for _, call := range found {
		call.Up = talking(call.channels, call.To)
		out = append(out, call.Call)
	}
	slices.SortFunc(out, func(a, b Call) int { return cmp.Or(a.Began.Compare(b.Began), strings.Compare(a.From, b.From)) })
	return out
}

// partyOf is whose channel it is: an account, or for a line to the outside the number that calls.
func partyOf(m ami.Message) string {
	if n := m.Get("CallerIDNum"); n != "" && n != "<unknown>" {
		return plain(n)
	}
	name, _ := endpointOf(m.Get("Channel"))
	return plain(name)
}

// dialled is the number that a channel calls; empty where it is one that is called.
func dialled(m ami.Message) string {
	if n := m.Get("Exten"); n != "s" && n != "h" {
		return plain(n)
	}
	return ""
}

// lasted is how long a channel has been there, as CoreShowChannels says it: 00:01:05.
func lasted(m ami.Message) time.Duration {
	var h, min, s int
	if _, err := fmt.Sscanf(m.Get("Duration"), "%d:%d:%d", &h, &min, &s); err != nil {
		return 0
	}
	return time.Duration(h)*time.Hour + time.Duration(min)*time.Minute + time.Duration(s)*time.Second
}

func (c *callLog) began(channel, peer string) {
	extension, ok := endpointOf(channel)
	if !ok || len(c.channels) >= maxChannels || c.channels[channel] != nil {
		return
	}
	c.channels[channel] = &callLeg{extension: extension, peer: plain(peer)}
	c.log.Info("call began", "extension", extension, "peer", plain(peer))
}

func (c *callLog) ended(channel string) {
	l := c.channels[channel]
	if l == nil {
		return
	}
	delete(c.channels, channel)
	seconds := 0
	if !l.answered.IsZero() {
		seconds = int(time.Since(l.answered).Round(time.Second).Seconds())
	}
	c.log.Info("call ended", "extension", l.extension, "peer", l.peer, "seconds", seconds)
}

// endpointOf reads the account out of a channel's name, such as PJSIP/100-0000002a.
func endpointOf(channel string) (string, bool) {
	name, ok := strings.CutPrefix(channel, "PJSIP/")
	if !ok {
		return "", false
	}
	name, _, ok = cutLast(name, "-")
	return name, ok && name != ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
