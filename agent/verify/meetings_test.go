package verify

import (
	"strings"
	"testing"
)

func TestMeetings(t *testing.T) {
	s := newSite(t, "100")
	registered := true
	s.exchange.Meetings = &Meetings{Gateway: "1000", Registered: func() bool { return registered }, Access: "8000"}
	if v := s.verify(); !strings.Contains(outcomes(v), "gateway passed, room passed") {
		t.Errorf("outcomes: %s", outcomes(v))
	}
	registered = false
	s.exchange.Meetings.Access = "8001" // nobody answers there
	v := s.verify()
	if !strings.Contains(outcomes(v), "gateway failed, room failed") {
		t.Errorf("outcomes: %s", outcomes(v))
	}
	if said := problemText(t, v, "gateway"); !strings.Contains(said, "not registered") {
		t.Errorf("gateway: %s", said)
	}
	if said := problemText(t, v, "room"); !strings.Contains(said, "8001 leads into no meeting") {
		t.Errorf("room: %s", said)
	}
}
