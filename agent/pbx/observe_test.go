package pbx

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// printed is a value in every way that it may get into a log.
func printed(v any) []string {
	data, err := json.Marshal(v)
	return []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%x", v), string(data), fmt.Sprint(err)}
}

// answers answers with what a test wants.
type answers map[string][]ami.Message

func (a answers) Do(_ context.Context, x ami.Action) (ami.Message, error) { return a[x.Name][0], nil }

func (a answers) List(_ context.Context, x ami.Action) ([]ami.Message, error) { return a[x.Name], nil }

func TestLook(t *testing.T) {
	s, err := observe(t.Context(), answers{
		"CoreStatus":       {{{Key: "CoreCurrentCalls", Value: "5"}}},
		"CoreShowChannels": channelsOfThree(),
		"PJSIPShowEndpoints": {
			{{Key: "ObjectName", Value: "100"}, {Key: "DeviceState", Value: "In use"}},
			{{Key: "ObjectName", Value: "101"}, {Key: "DeviceState", Value: "Unavailable"}},
		},
		"PJSIPShowContacts": {
			{ // the order of the fields differs between versions
				{Key: "UserAgent", Value: "Yealink\x1b[31m SIP-T42U"}, {Key: "Endpoint", Value: "100"}, {Key: "Status", Value: "Reachable"},
				{Key: "Uri", Value: "sip:100@192.168.1.20:5061;transport=tcp"}, {Key: "RoundtripUsec", Value: "2500"}, {Key: "ExpirationTime", Value: "1900000000"},
				{Key: "ViaAddr", Value: "10.0.0.1"}, {Key: "ViaPort", Value: "5060"},
			},
			{{Key: "Endpoint", Value: "100"}, {Key: "Uri", Value: "sip:100@phone.example"}, {Key: "ViaAddr", Value: "192.168.1.21"}, {Key: "ViaPort", Value: "5060"}, {Key: "Status", Value: "NonQualified"}, {Key: "RoundtripUsec", Value: "N/A"}},
			{{Key: "Endpoint", Value: "gone"}, {Key: "Uri", Value: "sip:gone@192.168.1.9"}},
		},
	}, start)
	if err != nil {
		t.Fatal(err)
	}
	want := observation{at: start, calls: 3, now: []Call{
		{From: "0123456789", To: "200", Began: start.Add(-3723 * time.Second)},
		{From: "101", To: "*97", Began: start.Add(-9 * time.Second), Up: true},
		{From: "100", To: "102", Began: start.Add(-7 * time.Second), Up: true},
	}, lines: map[string]Line{
		"101": {State: "Unavailable"},
		"100": {State: "In use", InCall: true, Registrations: []Registration{
			{
				Extension: "100", Remote: netip.MustParseAddrPort("192.168.1.20:5061"), URI: "sip:100@192.168.1.20:5061;transport=tcp",
				UserAgent: "Yealink[31m SIP-T42U", Reach: Reachable, RoundTrip: 2500 * time.Microsecond, Expires: time.Unix(1900000000, 0),
			},
			{Extension: "100", Remote: netip.MustParseAddrPort("192.168.1.21:5060"), URI: "sip:100@phone.example", Reach: Unknown},
		}},
	}}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(observation{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestSecurityEvent(t *testing.T) {
	event := func(name, remote string) ami.Message {
		return ami.Message{{Key: "Event", Value: name}, {Key: "Service", Value: "PJSIP"}, {Key: "AccountID", Value: "100"},
			{Key: "SessionID", Value: "x"}, {Key: "LocalAddress", Value: "IPV4/UDP/192.0.2.1/5060"}, {Key: "RemoteAddress", Value: remote}}
	}
	for _, tt := range []struct {
		m    ami.Message
		kind SecurityKind
		at   string
	}{
		{event("ChallengeResponseFailed", "IPV4/UDP/198.51.100.7/5060"), WrongSecret, "udp 198.51.100.7:5060"},
		{event("InvalidAccountID", "IPV6/TLS/2001:db8::7/50000"), UnknownExtension, "tls [2001:db8::7]:50000"},
		{event("FailedACL", "nonsense"), Forbidden, " invalid AddrPort"},
		{event("RequestBadFormat", "IPV4/TCP/198.51.100.7/99999"), Malformed, "tcp invalid AddrPort"},
		{event("SuccessfulAuth", "IPV4/UDP/198.51.100.7/5060"), "", ""},
		{event("ChallengeSent", "IPV4/UDP/198.51.100.7/5060"), "", ""},
		{event("ContactStatus", ""), "", ""},
	} {
		e, ok := securityEvent(tt.m, start)
		if ok != (tt.kind != "") || e.Kind != tt.kind || ok && e.Transport+" "+e.Remote.String() != tt.at {
			t.Errorf("%s: %v %+v", tt.m.Event(), ok, e)
		}
	}
}
