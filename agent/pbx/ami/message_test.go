package ami

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []Message
		err      error // at the end; nil: io.EOF
	}{
		{"response", "Response: Success\r\nActionID: 1\r\nMessage: Authentication accepted\r\n\r\n",
			[]Message{{{"Response", "Success"}, {"ActionID", "1"}, {"Message", "Authentication accepted"}}}, nil},
		{"values with colons and without", "Event: X\r\nURI: sip:100@192.168.1.20:5060\r\nEmpty:\r\nSpaces:  two \r\n\r\n",
			[]Message{{{"Event", "X"}, {"URI", "sip:100@192.168.1.20:5060"}, {"Empty", ""}, {"Spaces", " two "}}}, nil},
		{"keys that come twice", "Response: Success\r\nOutput: a\r\nOutput: b\r\n\r\n",
			[]Message{{{"Response", "Success"}, {"Output", "a"}, {"Output", "b"}}}, nil},
		{"blank lines between messages and bare line ends", "\r\n\r\nEvent: A\n\n\nEvent: B\n\n",
			[]Message{{{"Event", "A"}}, {{"Event", "B"}}}, nil},
		{"a line without a key", "Event: A\r\nnonsense\r\nB: 1\r\n\r\n", []Message{{{"Event", "A"}, {"B", "1"}}}, nil},
		{"cut in a line", "Event: A\r\nPrivil", nil, io.ErrUnexpectedEOF},
		{"cut between lines", "Event: A\r\n", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecoder(strings.NewReader(tt.in))
			var got []Message
			for {
				m, err := d.message()
				if err != nil {
					if want := tt.err; want == nil && !errors.Is(err, io.EOF) || want != nil && !errors.Is(err, want) {
						t.Errorf("end: %v", err)
					}
					break
				}
				got = append(got, m)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeBounds(t *testing.T) {
	for name, in := range map[string]string{
		"a line": "Event: " + strings.Repeat("x", maxLine),
		"lines":  strings.Repeat("a: b\n", maxFields+1) + "\n",
	} {
		if _, err := newDecoder(strings.NewReader(in)).message(); err == nil {
			t.Errorf("endless %s were read", name)
		}
	}
}

func TestEncode(t *testing.T) {
	got, err := NewAction("PJSIPNotify", "Endpoint", "100", "Variable", "Event=check-sync;reboot=false").encode("7")
	want := "Action: PJSIPNotify\r\nActionID: 7\r\nEndpoint: 100\r\nVariable: Event=check-sync;reboot=false\r\n\r\n"
	if err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"100\r\nAction: Command", "100\nCommand: core stop now", "100\x00"} {
		if _, err := NewAction("PJSIPNotify", "Endpoint", bad).encode("1"); !errors.Is(err, errLineBreak) {
			t.Errorf("%q became lines of its own: %v", bad, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nActionID: 1\r\n\r\n",
		"Event: ContactList\r\nActionID: 2\r\nUri: sip:100@192.168.1.20:5060;x=y\r\n\r\n",
		"Event: ContactListComplete\r\nEventList: Complete\r\nListItems: 0\r\n\r\n",
		"\r\n\r\n:\r\n: :\r\n\r\n", "a", "\x00\x00:\n\n", "Event: A\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		d := newDecoder(strings.NewReader(in))
		_ = d.greeting()
		for {
			m, err := d.message()
			if err != nil {
				return
			}
			if len(m) == 0 {
				t.Fatal("a message without lines")
			}
			// What was read can be written, and is the same when it is read again.
			var fields []string
			for _, field := range m {
				if strings.ContainsAny(field.Key+field.Value, "\r\x00") || strings.Contains(field.Key, ":") {
					return
				}
				fields = append(fields, field.Key, field.Value)
			}
			data, err := NewAction("X", fields...).encode("1")
			if err != nil {
				t.Fatal(err)
			}
			again, err := newDecoder(strings.NewReader(string(data))).message()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, again[2:]); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
