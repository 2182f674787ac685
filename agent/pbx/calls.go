package pbx

import (
	"log/slog"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// maxChannels bounds the calls that are followed for the log.
const maxChannels = 2000

// callLog writes a line when a call begins, is answered and ends, once for each extension that takes part. It is for
// the log alone: what goes on now is seen by looking.
type callLog struct {
	log      *slog.Logger
	channels map[string]*callLeg // by channel; only the goroutine that reads events touches it
}

// callLeg is one extension's part in a call.
type callLeg struct {
	extension, peer string
	answered        time.Time
}

func newCallLog(log *slog.Logger) *callLog {
	return &callLog{log: log, channels: make(map[string]*callLeg)}
}

// reset forgets calls whose end nobody has seen.
func (c *callLog) reset() { clear(c.channels) }

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
