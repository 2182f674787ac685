package freepbx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

var (
	alice = pbx.Extension{Number: "100", Name: "Alice", Secret: "alice-secret-1234", Voicemail: true}
	bob   = pbx.Extension{Number: "101", Name: `Bob "the" Ünlü, <boss>`, Secret: `b,o"b-secret#1234`}
)

func differ(want, got result) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(result{}, problem{}))
}

// TestFreePBX has one database and one Asterisk for all that is tried with them: both take long to come up. The last one
// kills Asterisk.
func TestFreePBX(t *testing.T) {
	p := newPBX(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pbxHere)
	}{
		{"create, and leave alone", testCreateAndLeaveAlone},
		{"change carries what an admin has set", testChangeCarriesWhatAnAdminHasSet},
		{"what cannot be carried is left alone", testWhatCannotBeCarriedIsLeftAlone},
		{"delete", testDelete},
		{"fwconsole behaves badly", testFwconsoleBehavesBadly},
		{"reload is verified", testReloadIsVerified},
		{"reload fails", testReloadFails},
		{"semicolon", testSemicolonIsLeftAlone},
		{"settings", testSettings},
		{"admins", testAdmins},
		{"local network", testLocalNetwork},
		{"gateway and files", testGatewayAndFiles},
		{"what is accepted arrives", testWhatIsAcceptedArrives},
		{"service", testServiceWithFreePBX},
		{"failed reload keeps phones in", testFailedReloadKeepsPhonesIn},
		{"nothing is done blindly", testNothingIsDoneBlindly},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.reset()
			c.test(t, p)
		})
	}
}

// What the file says is what FreePBX and Asterisk have; and a second reconciliation does nothing.
func testCreateAndLeaveAlone(t *testing.T, p *pbxHere) {
	r := p.apply(false, alice, bob)
	if diff := differ(result{created: []string{"100", "101"}}, r); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if got := p.calls(); got != "bulkimport, bulkimport, reload" {
		t.Errorf("fwconsole was called with %q", got)
	}
	a, b := p.found("100"), p.found("101")
	if a.User["name"] != "Alice" || a.SIP["secret"] != alice.Secret.Reveal() || a.User["voicemail"] != "default" || a.Device["tech"] != "pjsip" || a.SIP["max_contacts"] != "5" {
		t.Errorf("Alice is %+v", a)
	}
	if b.User["name"] != `Bob "the" Ünlü, (boss)` || b.SIP["secret"] != bob.Secret.Reveal() || b.User["voicemail"] != "novm" {
		t.Errorf("Bob is %+v", b)
	}
	if got := p.asterisk.CLI("pjsip show auth 101-auth"); !strings.Contains(got, bob.Secret.Reveal()) {
		t.Errorf("Asterisk does not have the secret:\n%s", got)
	}
	if r := p.apply(true, alice, bob); r.changed() || len(r.problems) > 0 || p.calls() != "" {
		t.Errorf("a second reconciliation did something: %+v", r)
	}
	if entries, err := os.ReadDir(p.machine.Dir); err != nil || len(entries) > 0 {
		t.Errorf("files with secrets are left: %v, %v", entries, err)
	}
	if fi, err := os.Stat(p.record); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the record's mode: %v, %v", fi, err)
	}
}

// An extension that an admin made gets the file's name and secret, and keeps all else.
func testChangeCarriesWhatAnAdminHasSet(t *testing.T, p *pbxHere) {
	p.handMade("100", "Old name")
	before, _ := p.machine.Extras(t.Context())
	was := p.found("100")
	r := p.apply(true, alice)
	if diff := differ(result{updated: []string{"100"}}, r); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if got := p.calls(); got != "bulkimport --replace, reload" {
		t.Errorf("fwconsole was called with %q", got)
	}
	now := p.found("100")
	was.User["name"], was.Device["description"], was.SIP["secret"], was.SIP["callerid"] = "Alice", "Alice", alice.Secret.Reveal(), "Alice <100>"
	if diff := cmp.Diff(was, now); diff != "" {
		t.Errorf("more was changed (-want +got):\n%s", diff)
	}
	after, err := p.machine.Extras(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before.AstDB["/AMPUSER/100/cidname"] = "Alice"
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more was changed outside of the database (-want +got):\n%s", diff)
	}
	// It was the admin's before, and still is: taken out of the file, it stays.
	if r := p.apply(true); r.changed() || len(r.waiting) > 0 || !p.found("100").whole() {
		t.Errorf("the admin's extension: %+v", r)
	}
}

// handMade makes an extension as an admin does in the web interface, with settings.
func (p *pbxHere) handMade(number, name string) {
	p.t.Helper()
	row := Columns{
		"extension": number, "name": name, "description": name, "tech": "pjsip", "secret": "by-hand-12345678", "qualifyfreq": "15", "transport": "0.0.0.0-udp",
		"emergency_cid": "+33123456789", "outboundcid": "Site <+33123>", "noanswer_dest": "app-blackhole,hangup,1", "ringtimer": "25",
		"voicemail_enable": "yes", "voicemail": "default", "voicemail_vmpwd": "4711", "voicemail_email": "a@example.org", "voicemail_options": "attach=no|delete=no",
		"voicemail_same_exten": "yes",
	}
	if err := p.standin.importRow(row, false); err != nil {
		p.t.Fatal(err)
	}
	for key, v := range map[string]string{"cidname": name, "cidnum": "900", "recording/priority": "20", "device": number} {
		p.asterisk.CLI("database put AMPUSER " + number + "/" + key + ` "` + v + `"`)
	}
	p.asterisk.CLI("module reload res_pjsip.so")
}

// What an import cannot carry is not put at risk.
func testWhatCannotBeCarriedIsLeftAlone(t *testing.T, p *pbxHere) {
	p.handMade("100", "Old name")
	p.apply(false) // nothing to do
	p.asterisk.CLI("database put AMPUSER 100/screen memory")
	was := p.found("100")
	r, err := p.try(true, alice)
	if r.changed() || len(r.problems) != 1 || !strings.Contains(r.problems[0].what, "call screening") {
		t.Errorf("result %+v, %v", r, err)
	}
	if diff := cmp.Diff(was, p.found("100")); diff != "" || strings.Contains(p.calls(), "bulkimport") {
		t.Errorf("it was touched:\n%s", diff)
	}
}

// Only extensions of ours are removed, and only when that is allowed.
func testDelete(t *testing.T, p *pbxHere) {
	p.handMade("200", "By hand")
	p.apply(false, alice, bob)
	p.calls()
	r := p.apply(false, bob)
	if diff := differ(result{waiting: []string{"100"}}, r); diff != "" || p.calls() != "" {
		t.Errorf("before it is allowed (-want +got):\n%s", diff)
	}
	p.restart()
	p.api.refuse = true
	if r := p.apply(true, bob); len(r.problems) != 1 || !strings.Contains(r.problems[0].what, "does not exists") {
		t.Errorf("refused by the API: %+v", r)
	}
	p.api.refuse = false
	p.calls()
	r = p.apply(true, bob)
	if diff := differ(result{deleted: []string{"100"}}, r); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if got := p.calls(); got != "reload" { // the API's client was made the first time
		t.Errorf("fwconsole was called with %q", got)
	}
	if got, err := p.ask(t.Context()); err != nil || cmp.Diff([]string{"101", "200"}, sorted(got)) != "" {
		t.Errorf("Asterisk has %v, %v", got, err)
	}
	// What FreePBX leaves of it does not bring it back.
	if left := p.asterisk.CLI("database show CustomPresence/100"); !strings.Contains(left, "available") {
		t.Errorf("the stand-in removes more than FreePBX: %s", left)
	}
	if r := p.apply(true, bob); r.changed() || p.calls() != "" {
		t.Errorf("what is left of an extension is taken for one: %+v", r)
	}
	// An admin makes it again: it is not ours any more.
	p.handMade("100", "Admin's")
	if r := p.apply(true, bob); r.changed() || !p.found("100").whole() {
		t.Errorf("the admin's new 100: %+v", r)
	}
}

// However fwconsole behaves, what is reported is what there is.
func testFwconsoleBehavesBadly(t *testing.T, p *pbxHere) {
	changed := alice
	changed.Secret = "another-secret-5678"
	for _, c := range []struct {
		mode    string
		changes bool // an extension that exists is to be changed
		want    string
	}{
		{modeRefuse, false, "it is not there"}, {modeRefuse, true, "its secret is not the new one"},
		{modeHalf, false, "only half"}, {modeHalf, true, "only half"}, {modeCut, true, "it is not there"},
		{modeReset, true, `qualifyfreq is "60" and should be "15"`},
		{modeLie, false, ""}, {modeLie, true, ""},
	} {
		name := c.mode + " new"
		if c.changes {
			name = c.mode + " existing"
		}
		t.Run(name, func(t *testing.T) {
			p.reset()
			if c.changes {
				p.handMade("100", "Alice")
			}
			was, _ := p.machine.Extras(t.Context())
			p.behave(c.mode)
			r, _ := p.try(false, changed)
			if c.want == "" {
				if !r.changed() || len(r.problems) > 0 {
					t.Errorf("result %+v", r)
				}
				return
			}
			if r.changed() || len(r.problems) != 1 || !strings.Contains(r.problems[0].what, c.want) {
				t.Errorf("result %+v", r)
			}
			p.calls()
			if r, _ := p.try(false, changed); len(r.problems) != 1 || strings.Contains(p.calls(), "bulkimport") {
				t.Errorf("it is tried again at once: %+v", r)
			}
			if c.mode == modeReset {
				return
			}
			// Later, or with the next daemon, it is brought in line, with all that was there.
			p.behave("")
			p.clock = p.clock.Add(retryAfter)
			if c.mode == modeCut {
				p.restart()
			}
			if r := p.apply(false, changed); !r.changed() || len(r.problems) > 0 {
				t.Errorf("later: %+v", r)
			}
			f := p.found("100")
			if f.SIP["secret"] != changed.Secret.Reveal() || c.changes && (f.SIP["qualifyfreq"] != "15" || f.User["noanswer_dest"] != "app-blackhole,hangup,1") {
				t.Errorf("later it is %+v", f)
			}
			if now, err := p.machine.Extras(t.Context()); c.changes && (err != nil || cmp.Diff(was.Mailboxes, now.Mailboxes) != "") {
				t.Errorf("the mailbox: %v, %+v", err, now.Mailboxes)
			}
			if r := p.apply(true); c.changes == (len(r.deleted) == 1) {
				t.Errorf("whose it is was mixed up: %+v", r)
			}
		})
	}
}

// A reload that does nothing, whatever it says, is told and tried again each time.
func testReloadIsVerified(t *testing.T, p *pbxHere) {
	p.behave(modeDeaf)
	p.driver.patience = time.Second
	if _, err := p.try(false, alice); err == nil || !strings.Contains(err.Error(), "does not run with 100") {
		t.Errorf("a reload that did nothing: %v", err)
	}
	p.behave("")
	p.calls()
	if r := p.apply(false, alice); r.changed() || p.calls() != "reload" {
		t.Errorf("later: %+v", r)
	}
	if p.apply(false, alice); p.calls() != "" {
		t.Error("reloaded once more")
	}
}

// A reload that fails is an error with FreePBX's own reason, also for the next daemon, until it works: FreePBX has the new
// secret then, and Asterisk the old one.
func testReloadFails(t *testing.T, p *pbxHere) {
	p.apply(false, alice)
	changed := alice
	changed.Secret, changed.Voicemail = "another-secret-5678", false
	p.behave(modeFail)
	for range 2 {
		_, err := p.try(false, changed)
		if err == nil || !strings.Contains(err.Error(), "Bad destinations have been found, and BADDESTABORT is set: reload aborted, DEST: app-announcement-9,s,1") || strings.Contains(err.Error(), "--dry-run") {
			t.Fatalf("a reload that failed: %v", err)
		}
		p.restart()
	}
	if got, err := p.ask(t.Context()); err != nil || !got["100"].Takes(alice.Secret) {
		t.Errorf("Asterisk runs with %v, %v", got, err)
	}
	p.behave("")
	p.calls()
	if r := p.apply(false, changed); r.changed() || p.calls() != "reload" {
		t.Errorf("later: %+v", r)
	}
	if got, err := p.ask(t.Context()); err != nil || !got["100"].Takes(changed.Secret) {
		t.Errorf("later Asterisk runs with %v, %v", got, err)
	}
}

// What Asterisk would cut is left alone, and said.
func testSemicolonIsLeftAlone(t *testing.T, p *pbxHere) {
	p.apply(false, alice)
	for what, change := range map[string]func(*pbx.Extension){
		"secret": func(e *pbx.Extension) { e.Secret = "abcd;Efgh1234" },
		"name":   func(e *pbx.Extension) { e.Name = "Doe, John; Jr" },
	} {
		e := alice
		change(&e)
		r, err := p.try(true, e)
		if r.changed() || len(r.problems) != 1 || !strings.Contains(r.problems[0].what, "the "+what+` has a ";"`) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	if got, err := p.ask(t.Context()); err != nil || !got["100"].Takes(alice.Secret) {
		t.Errorf("Asterisk runs with %v, %v", got, err)
	}
}

// A setting is set when FreePBX has it so.
func testSettings(t *testing.T, p *pbxHere) {
	if err := p.machine.Set(t.Context(), "PHPTIMEZONE", "Europe/Paris"); err != nil {
		t.Error(err)
	}
	if err := p.machine.Set(t.Context(), "PHPTIMEZON", "Europe/Paris"); err == nil || !strings.Contains(err.Error(), "was not found!") {
		t.Errorf("a setting that does not exist: %v", err)
	}
	p.behave(modeRefuse)
	if err := p.machine.Set(t.Context(), "FREEPBX_SYSTEM_IDENT", "sae303"); err == nil || !strings.Contains(err.Error(), `is "VoIP Server" and should be "sae303"`) {
		t.Errorf("a value that is not taken: %v", err)
	}
}

// Without Asterisk or FreePBX nothing is touched.
func testNothingIsDoneBlindly(t *testing.T, p *pbxHere) {
	p.asterisk.Kill()
	if r, err := p.try(true, alice); err == nil || r.changed() || p.calls() != "" {
		t.Errorf("without Asterisk: %+v, %v", r, err)
	}
	ours := filepath.Join(p.machine.Etc, "manager_sae-agent.conf")
	if err := errors.Join(os.Remove(p.machine.Conf), os.Remove(ours)); err != nil {
		t.Fatal(err)
	}
	_, err := p.driver.Apply(t.Context(), pbx.Desired{Extensions: []pbx.Extension{alice}, ManagerUser: "sae-agent"})
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "pbx install") {
		t.Errorf("without FreePBX: %v", err)
	}
	if _, err := os.Stat(ours); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without FreePBX something was written: %v", err)
	}
}

// The account that the driver reads with may do no more, and does not need more.
func testAdmins(t *testing.T, p *pbxHere) {
	if n, err := p.machine.Admins(t.Context()); n != 0 || err != nil {
		t.Errorf("Admins() = %d, %v", n, err)
	}
	p.exec("INSERT INTO ampusers (username, password_sha1) VALUES ('admin', 'x')")
	if n, err := p.machine.Admins(t.Context()); n != 1 || err != nil {
		t.Errorf("Admins() = %d, %v", n, err)
	}
}

// The driver as package pbx drives it: files of ours beside FreePBX's, the gateway's
// account, a plan that changes nothing, and no secret in what is told.
func testGatewayAndFiles(t *testing.T, p *pbxHere) {
	want := pbx.Desired{
		Extensions: []pbx.Extension{alice}, ManagerUser: "sae-agent", ManagerSecret: "correct-horse",
		Gateway: &pbx.Gateway{
			Extension: pbx.Extension{Number: "1000", Name: "Meetings", Secret: "gateway-secret-12"}, AccessNumber: "8000", Room: "sae303), Hangup(", RoomHeader: "X-Room-Name",
		},
	}
	plan, err := p.driver.Plan(t.Context(), want)
	if err != nil || len(plan) != 2 || p.found("100").whole() {
		t.Errorf("Plan() = %v, %v", plan, err)
	}
	p.machine.Asterisk = p.asterisk.Program() // the real one, for once
	done, err := p.driver.Apply(t.Context(), want)
	if err != nil || len(done) != 3 || strings.Contains(fmt.Sprint(done), "secret") {
		t.Errorf("Apply() = %v, %v", done, err)
	}
	if again, err := p.driver.Apply(t.Context(), want); err != nil || len(again) != 0 {
		t.Errorf("again: %v, %v", again, err)
	}
	if c := p.found("1000").SIP["context"]; c != gatewayContext {
		t.Errorf("the gateway dials in %q", c)
	}
	for command, text := range map[string]string{
		"dialplan show 8000@from-internal":     "sae-room,s,1(sae303Hangup)",
		"dialplan show 80001234@from-internal": "FILTER(0-9,${EXTEN:4})",
		"dialplan show +100@sae-gateway":       "Goto(sae-gateway,${EXTEN:1},1)",
		"dialplan show 100@sae-gateway":        "Dial(PJSIP/",
		"dialplan show s@sae-room":             "PJSIP/1000,60,b(sae-room-header^s^1(${ARG1}))",
		"dialplan show s@sae-room-header":      "PJSIP_HEADER(add,X-Room-Name)",
		"dialplan show 0033123456@sae-gateway": "There is no existence of",
		"manager show user sae-agent":          "system,call,reporting",
	} {
		if out := p.asterisk.CLI(command); !strings.Contains(strings.ReplaceAll(out, " ", ""), strings.ReplaceAll(text, " ", "")) && !strings.Contains(out, text) {
			t.Errorf("%s: want %q:\n%s", command, text, out)
		}
	}
	data, err := os.ReadFile(filepath.Join(p.machine.Etc, "manager_custom.conf"))
	if err != nil || string(data) != "; the admin's own line\n#include manager_sae-agent.conf\n" {
		t.Errorf("the admin's file: %q, %v", data, err)
	}
	if fi, err := os.Stat(filepath.Join(p.machine.Etc, "manager_sae-agent.conf")); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("the file with our secret: %v, %v", fi, err)
	}
}
