package freepbx

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

func TestParseConf(t *testing.T) {
	for name, c := range map[string]struct {
		conf, want, err string
	}{
		"as FreePBX writes it": {"<?php\n$amp_conf['AMPDBUSER']\t= 'u';\n$amp_conf['AMPDBPASS'] = 'p';\n$amp_conf['AMPDBHOST'] = 'localhost';\n$amp_conf['AMPDBNAME'] = 'asterisk';\n$amp_conf['AMPDBENGINE'] = 'mysql';\n$amp_conf['datasource'] = ''; //for sqlite3\n\nrequire_once('/var/www/html/admin/bootstrap.php');\n?>\n",
			"u:p@unix(/run/mysqld/mysqld.sock)/asterisk", ""},
		"double quotes, a port":  {"$amp_conf[\"AMPDBUSER\"]=\"u\";\n$amp_conf[\"AMPDBPASS\"]=\"a\\\"b\\$\\\\c\";\n$amp_conf[\"AMPDBHOST\"]=\"db\";$amp_conf[\"x\"]=\"y\";\n$amp_conf[\"AMPDBPORT\"]=\"3307\";\n$amp_conf[\"AMPDBNAME\"]=\"a\";\n", `u:a"b$\c@tcp(db:3307)/a`, ""},
		"single quotes escape 2": {"$amp_conf['AMPDBUSER']='u';\n$amp_conf['AMPDBPASS']='a\\'b\\\\c\\nd';\n$amp_conf['AMPDBNAME']='a';\n$amp_conf['AMPDBHOST']='db';\n", `u:a'b\c\nd@tcp(db:3306)/a`, ""},
		"a comment":              {"// $amp_conf['AMPDBUSER']='x';\n# $amp_conf['AMPDBUSER']='y';\n$amp_conf['AMPDBUSER']='u';\n$amp_conf['AMPDBNAME']='a';\n", "u@unix(/run/mysqld/mysqld.sock)/a", ""},
		"no user":                {"$amp_conf['AMPDBNAME']='a';\n", "", "AMPDBUSER"},
		"a variable":             {"\n$amp_conf['AMPDBPASS']=\"a$b\";\n", "", "line 2, AMPDBPASS: has a variable"},
		"a call":                 {"$amp_conf['AMPDBPASS']=getenv('X');\n", "", "not a plain string"},
		"cut off":                {"$amp_conf['AMPDBPASS']='geheim", "", "no closing quote"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseConf([]byte(c.conf))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			dsn, _, _ := strings.Cut(got.config().FormatDSN(), "?")
			if dsn != c.want {
				t.Errorf("DSN %s, want %s", dsn, c.want)
			}
		})
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add("$amp_conf['AMPDBUSER'] = 'u';\n$amp_conf['AMPDBNAME'] = \"a\\\\b\";\n")
	f.Add("$amp_conf[ \"AMPDBPASS\" ]='\\")
	f.Fuzz(func(t *testing.T, conf string) {
		if c, err := parseConf([]byte(conf)); err == nil && (c.user == "" || c.name == "") {
			t.Errorf("accepted without user or name: %q", conf)
		}
	})
}

func TestParseMailboxes(t *testing.T) {
	got := parseMailboxes([]byte("[general]\n#include vm_general.inc\nformat=wav49|wav\n\n[default]\n100=4711,Alice,a@example.org|b@example.org,,attach=no|delete=no ; comment\n101 => 1,Bob\n\n[device]\n100=x\n[pbxaliases]\n100@device=100@default\n[sales]\n200=,Carol,,p@example.org,\n"))
	want := map[string]Mailbox{
		"100": {Context: "default", PIN: "4711", Email: "a@example.org|b@example.org", Options: "attach=no|delete=no"},
		"101": {Context: "default", PIN: "1"}, "200": {Context: "sales", Pager: "p@example.org"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRTP(t *testing.T) {
	for text, want := range map[string][2]uint16{
		"rtpstart=10000\nrtpend=20000\nstrictrtp=yes\n": {10000, 20000}, "; rtpstart=1\nrtpend => 19999\n": {0, 19999}, "rtpstart=100000\n": {}, "": {},
	} {
		if first, last := parseRTP([]byte(text)); first != want[0] || last != want[1] {
			t.Errorf("%q: %d-%d", text, first, last)
		}
	}
}

func FuzzParseMailboxes(f *testing.F) {
	f.Add("[default]\n100=1,Alice,,,a=b\n")
	f.Add("[\n=,\n]")
	f.Fuzz(func(t *testing.T, text string) {
		for number, box := range parseMailboxes([]byte(text)) {
			if box.Context == "" || strings.TrimSpace(number) != number {
				t.Errorf("mailbox %q: %+v", number, box)
			}
		}
	})
}

// What is written is what PHP reads, whatever language the machine speaks; what would
// not be is refused.
func TestCSVIsReadByPHP(t *testing.T) {
	values := []string{
		"plain", "", "a,b", `a"b`, `"`, "two\nlines", " blanks ", "Élodie", "ünlü, Ärger", "日本語", "emoji 🙂", `a\b`, `\`, `a\`, `a\"b`, `x,\`, `it's`, "a;b\tc", "#hash", `\.`, "0",
	}
	row := make(Columns)
	var names []string
	for i, v := range values {
		if importable(v) == nil {
			name := "c" + string(rune('a'+i))
			row[name], names = v, append(names, name)
		} else if !strings.Contains(v, `\`) {
			t.Errorf("%q is refused", v)
		}
	}
	files := batches([]Columns{row})
	for _, locale := range []string{"C", "C.UTF-8"} {
		cmd := exec.Command("php", "-r", `$h = fgetcsv(STDIN); $r = fgetcsv(STDIN); echo json_encode(array_combine($h, $r));`)
		cmd.Env, cmd.Stdin = append(cmd.Environ(), "LC_ALL="+locale), strings.NewReader(string(files[0]))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("php (Debian package php8.2-cli): %v\n%s", err, out)
		}
		var got Columns
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if diff := cmp.Diff(row, got); diff != "" {
			t.Errorf("%s: PHP reads something else (-want +got):\n%s", locale, diff)
		}
	}
	if len(names) != len(values)-4 {
		t.Errorf("%d of %d values are written", len(names), len(values))
	}
}

// A column that a row does not have must not be reset by an empty one.
func TestBatches(t *testing.T) {
	files := batches([]Columns{{"extension": "100", "name": "A"}, {"extension": "101", "name": "B", "x": "1"}, {"extension": "102", "name": "C"}})
	var got []string
	for _, f := range files {
		got = append(got, string(f))
	}
	if diff := cmp.Diff([]string{"extension,name\n100,A\n102,C\n", "extension,name,x\n101,B,1\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// whole makes an extension as FreePBX has it.
func whole(number, name, secret, tech string) Found {
	return Found{Number: number, Device: Columns{"tech": tech, "description": name}, User: Columns{"name": name, "voicemail": "novm"}, SIP: Columns{"secret": secret}}
}

func TestCompare(t *testing.T) {
	const secret = "secret-1234567890"
	want := map[string]account{"100": {Extension: pbx.Extension{Number: "100", Name: "Alice", Secret: secret}}}
	half := whole("100", "Alice", secret, "pjsip")
	half.User = nil
	for name, c := range map[string]struct {
		want  map[string]account
		found map[string]Found
		rec   state
		plan  changes
	}{
		"new":           {want, nil, state{}, changes{create: []string{"100"}}},
		"as it is":      {want, map[string]Found{"100": whole("100", "Alice", secret, "pjsip")}, state{}, changes{}},
		"renamed":       {want, map[string]Found{"100": whole("100", "Bob", secret, "pjsip")}, state{}, changes{update: []string{"100"}}},
		"a new secret":  {want, map[string]Found{"100": whole("100", "Alice", "x", "pjsip")}, state{}, changes{update: []string{"100"}}},
		"another tech":  {want, map[string]Found{"100": whole("100", "Alice", secret, "dahdi")}, state{}, changes{problems: []problem{{"100", "exists in FreePBX as dahdi, not as pjsip", "put it right in FreePBX's web interface, or take the extension out of the file"}}}},
		"half, not us":  {want, map[string]Found{"100": half}, state{}, changes{problems: []problem{{"100", "is half there in FreePBX, and it was not sae-agent who made it", "finish it or remove it in FreePBX's web interface"}}}},
		"half, by us":   {want, map[string]Found{"100": half}, state{Creating: map[string]string{"100": "x"}}, changes{update: []string{"100"}}},
		"cut off":       {want, nil, state{Carried: map[string]Columns{"100": {}}}, changes{update: []string{"100"}}},
		"cut, unwanted": {nil, nil, state{Carried: map[string]Columns{"100": {}}}, changes{update: []string{"100"}}},
		"an admin's":    {nil, map[string]Found{"100": whole("100", "Alice", secret, "pjsip")}, state{}, changes{}},
		"ours":          {nil, map[string]Found{"100": whole("100", "Alice", secret, "pjsip")}, state{Created: map[string]bool{"100": true}}, changes{remove: []string{"100"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.plan, compare(c.want, c.found, c.rec), cmp.AllowUnexported(changes{}, problem{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlainName(t *testing.T) {
	for name, want := range map[string]string{
		"Alice": "Alice", "  Alice <boss> ": "Alice (boss)", strings.Repeat("ü", 60): strings.Repeat("ü", 50), strings.Repeat("a", 49) + " b": strings.Repeat("a", 49),
	} {
		if got := plainName(name); got != want || plainName(got) != got {
			t.Errorf("plainName(%q) = %q, want %q", name, got, want)
		}
	}
}

// What FreePBX prints may hold passwords, and is logged.
func TestHide(t *testing.T) {
	c := Columns{"secret": "abc", "voicemail_vmpwd": "123", "password": "", "name": "x"}
	if got := c.hide("Unable to insert abc, 123, x"); got != "Unable to insert ******, ******, x" {
		t.Errorf("%q", got)
	}
}
