package sim

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSettings(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       settings
		err        string
	}{
		{"plain", "#!version:1.0.0.1\na.b = c\n", settings{"a.b": "c"}, ""},
		{"other ends of lines", "#!version:1.0.0.1\r\na = 1\r\nb=2", settings{"a": "1", "b": "2"}, ""},
		{"comments and rubbish", "#!version:1.0.0.1\n# a = 1\n\nrubbish\n  b  =  2 3 \n", settings{"b": "2 3"}, ""},
		{"equals sign in a value", "#!version:1.0.0.1\nurl = http://x/?a=b\n", settings{"url": "http://x/?a=b"}, ""},
		{"cleared", "#!version:1.0.0.1\na = %NULL%\nb =\n", settings{"a": "", "b": ""}, ""},
		{"the last counts", "#!version:1.0.0.1\na = 1\na = 2\n", settings{"a": "2"}, ""},
		{"only the version", "#!version:1.0.0.1", settings{}, ""},
		{"empty", "", nil, "does not begin with"},
		{"no version", "a = 1\n", nil, "does not begin with"},
		{"version later", "\n#!version:1.0.0.1\na = 1\n", nil, "does not begin with"},
		{"a web page", "<html>not found</html>", nil, "does not begin with"},
	} {
		got, err := parseSettings([]byte(c.text))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		}
	}
}

func TestAccount(t *testing.T) {
	const line = "account.1.enable = 1\naccount.1.user_name = 100\naccount.1.sip_server.1.address = pbx\n"
	for _, c := range []struct {
		name, text string
		want       account
		ok         bool
	}{
		{"least", line, account{user: "100", auth: "100", host: "pbx", port: 5060, transport: "UDP"}, true},
		{
			"all", line + "account.1.auth_name = a\naccount.1.password = p\naccount.1.display_name = d\naccount.1.sip_server.1.port = 5160\naccount.1.sip_server.1.transport_type = 1\n",
			account{user: "100", auth: "a", password: "p", display: "d", host: "pbx", port: 5160, transport: "TCP"}, true,
		},
		{"TLS", line + "account.1.sip_server.1.transport_type = 2\n", account{user: "100", auth: "100", host: "pbx", port: 5061, transport: "TLS"}, true},
		{"port is no port", line + "account.1.sip_server.1.port = 70000\n", account{user: "100", auth: "100", host: "pbx", port: 5060, transport: "UDP"}, true},
		{"not enabled", line + "account.1.enable = 0\n", account{}, false},
		{"no number", line + "account.1.user_name =\n", account{}, false},
		{"the seed's password key", line + "account.1.pasword = p\n", account{user: "100", auth: "100", host: "pbx", port: 5060, transport: "UDP"}, true},
		{"none", "", account{}, false},
	} {
		s, err := parseSettings([]byte("#!version:1.0.0.1\n" + c.text))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := s.account()
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(account{})); diff != "" || ok != c.ok {
			t.Errorf("%s: %v %s", c.name, ok, diff)
		}
	}
}

func TestParseBoot(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             nil,
		"#!version:1.0.0.1\n":          nil,
		"include:config \"a.cfg\"\r\n": {"a.cfg"},
		"include:config <a.cfg>\noverwrite_mode = 1\ninclude:config \"b.cfg\"": {"a.cfg", "b.cfg"},
		"[T46U]\ninclude:config <a.cfg>\n[T48U, t42u]\ninclude:config <b.cfg>": {"b.cfg"},
		"#include:config <a.cfg>\ninclude:config a.cfg\ninclude:config <>":     nil,
	} {
		if diff := cmp.Diff(want, parseBoot([]byte(text), "T42U")); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]string{
		"192.168.1.1":               "tftp://192.168.1.1",
		"tftp.example":              "tftp://tftp.example",
		"tftp://192.168.1.1/phones": "tftp://192.168.1.1/phones",
		"http://h:8080/x/":          "http://h:8080/x/",
		"https://h":                 "https://h",
		"ftp://h":                   "error: option 66 is \"ftp://h\": only tftp, http and https are simulated",
		"http://":                   "error: option 66 is \"http://\", neither a server nor a URL",
		"192.168.1.1 ":              "error: option 66 is \"192.168.1.1 \", neither a server nor a URL",
	} {
		u, err := parseSource(text)
		got := ""
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = u.String()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestCommonFile(t *testing.T) {
	for model, want := range map[string]string{"T42U": "y000000000116.cfg", "sip-t54w": "y000000000096.cfg", "T99": "", "": "", "#": ""} {
		if got, ok := commonFile(model); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", model, got, ok, want)
		}
	}
}
