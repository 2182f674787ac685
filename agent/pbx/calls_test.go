package pbx

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// channelsOfThree are the channels of three calls: one that rings, one to the voice mail, one between two accounts, whose
// called side is listed first.
func channelsOfThree() []ami.Message {
	channel := func(name, id, call, number, dialled, state, duration string) ami.Message {
		return ami.Message{
			{Key: "Channel", Value: name}, {Key: "Uniqueid", Value: id}, {Key: "Linkedid", Value: call}, {Key: "CallerIDNum", Value: number},
			{Key: "Exten", Value: dialled}, {Key: "ChannelStateDesc", Value: state}, {Key: "Duration", Value: duration},
		}
	}
	return []ami.Message{
		channel("PJSIP/102-00000002", "a.2", "a.1", "102", "", "Up", "00:00:07"),
		channel("PJSIP/100-00000001", "a.1", "a.1", "", "102", "Up", "00:00:07"),
		channel("PJSIP/trunk-00000003", "b.1", "b.1", "0123456789", "200", "Ring", "01:02:03"),
		channel("PJSIP/200-00000004", "b.2", "b.1", "200", "s", "Ringing", "01:02:03"),
		channel("PJSIP/101-00000005", "c.1", "c.1", "101", "*97", "Up", "00:00:09"),
	}
}

func TestCallLog(t *testing.T) {
	c := newCallLog(slog.New(slog.DiscardHandler))
	event := func(name, channel, call, exten, state string) {
		c.event(ami.Message{
			{Key: "Event", Value: name}, {Key: "Channel", Value: "PJSIP/" + channel}, {Key: "Linkedid", Value: call},
			{Key: "Exten", Value: exten}, {Key: "ChannelStateDesc", Value: state},
		})
	}
	event("Newchannel", "100-1", "a", "101", "Ring") // answered
	event("Newchannel", "101-1", "a", "", "Ringing")
	event("Newstate", "101-1", "a", "", "Up")
	if c.follows["a"].Up {
		t.Error("answered, although only one side is up")
	}
	event("Newstate", "100-1", "a", "", "Up")
	event("Newchannel", "102-1", "b", "103", "Ring") // given up
	event("Newchannel", "103-1", "b", "", "Ringing")
	event("Hangup", "103-1", "b", "", "")
	event("Hangup", "102-1", "b", "", "")
	event("Hangup", "100-1", "a", "", "")
	event("Newchannel", "104-1", "c", "*97", "Ring") // with the exchange itself
	event("Newstate", "104-1", "c", "", "Up")
	event("Hangup", "104-1", "c", "", "")
	event("Hangup", "101-1", "a", "", "")
	event("Hangup", "nobody", "x", "", "")
	event("Newchannel", "105-1", "d", "106", "Ring")
	c.reset() // its end is not seen
	event("Hangup", "105-1", "d", "", "")

	got := c.recent()
	want := []Call{{From: "102", To: "103"}, {From: "104", To: "*97", Up: true}, {From: "100", To: "101", Up: true}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		t.Error(diff)
	}
	for _, call := range got {
		if call.Began.IsZero() || call.Ended.Before(call.Began) || call.Up == call.Answered.IsZero() {
			t.Errorf("%+v", call)
		}
	}
	for i := range maxCalls + 50 {
		id := fmt.Sprint("many", i)
		event("Newchannel", "1-"+id, id, fmt.Sprint(i), "Ring")
		event("Hangup", "1-"+id, id, "", "")
	}
	if got := c.recent(); len(got) != maxCalls || got[maxCalls-1].To != fmt.Sprint(maxCalls+49) || len(c.follows) > 0 {
		t.Errorf("%d calls are kept, the last is %+v; %d are followed", len(got), got[len(got)-1], len(c.follows))
	}
}
