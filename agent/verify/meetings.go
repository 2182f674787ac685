package verify

import (
	"context"
	"time"
)

// ringTime is how long a meeting may take to answer.
const ringTime = time.Minute

// Meetings is the way from the exchange into video meetings.
type Meetings struct {
	Gateway    string // the SIP gateway's own account
	Registered func() bool
	Access     string // number that leads into a meeting
}

// meetingChecks are those of an exchange with meetings behind it.
func (t *Telephony) meetingChecks() []Check {
	if t.x.Meetings == nil {
		return nil
	}
	return []Check{
		{"gateway", "the SIP gateway of the meetings is registered", t.gateway},
		{"room", "a meeting answers at " + t.x.Meetings.Access, t.room},
	}
}

func (t *Telephony) gateway(context.Context) Found {
	switch m := t.x.Meetings; {
	case t.silent:
		return notTried(noExchange)
	case !m.Registered():
		return wrong("'sae-agent stacks logs jitsi jigasi' shows what the gateway says; sae-agent status says how the exchange is",
			"the SIP gateway is not registered at the exchange as %s: no phone gets into a meeting", m.Gateway)
	default:
		return seen("as %s", m.Gateway)
	}
}

// room calls a meeting. An empty meeting is silent: that it answers is all.
func (t *Telephony) room(ctx context.Context) Found {
	if t.first == nil {
		return notTried(noAccounts)
	}
	ringing, cancel := context.WithTimeout(ctx, ringTime)
	defer cancel()
	c, err := t.first.Call(ringing, t.x.Meetings.Access)
	if err == nil {
		err = c.HangUp(ctx)
	}
	if err != nil {
		return wrong("'sae-agent stacks logs jitsi jigasi' shows whether the call came in", "%s leads into no meeting: %v", t.x.Meetings.Access, err)
	}
	return seen("answered")
}
