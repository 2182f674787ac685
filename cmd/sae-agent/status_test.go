package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/translate"
	"github.com/sae-agent/sae-agent/internal/golden"
)

var statusTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const tftpTaken = "tftpd: another program holds UDP port 69: stop it, ss -ulnp names it"

func sampleStatus(problems ...problem.Problem) control.Status {
	return control.Status{
		PBX:     control.PBXStatus{Driver: "asterisk", State: "well", Extensions: 12, Registered: 11, Calls: 2},
		Version: "1.0", Site: "sae303", Started: statusTime.Add(-3 * time.Hour), Problems: problems,
		Config: control.ConfigStatus{Applied: "0123456789abcdef", AppliedAt: statusTime.Add(-time.Hour)},
		Parts: []control.PartStatus{
			{Name: "control", State: control.PartRunning}, {Name: "dhcp", State: control.PartRunning},
			{Name: "tftp", State: control.PartWaiting, Since: statusTime.Add(-5 * time.Second), Retries: 4, LastError: tftpTaken},
		},
		Network: []control.NetworkLink{
			{Role: "wan", Name: "ens33", Method: "dhcp", Up: true, Addresses: []string{"198.51.100.50/24"}, Gateway: "198.51.100.1"},
			{Role: "lan", Name: "ens34", Method: "static", Up: true, Addresses: []string{"192.168.1.1/24"}},
		},
		DHCP:   control.DHCPStatus{Serving: true, PoolSize: 91, PoolUsed: 12},
		Phones: map[string]int{"provisioned": 11, "absent": 1},
	}
}

// What is wrong comes first, with its fix, in the reader's language.
func TestStatusScreen(t *testing.T) {
	st := sampleStatus(
		problem.Problem{Severity: problem.Error, Part: "tftp", What: tftpTaken, Fix: "once the cause is gone it starts by itself; journalctl -u sae-agent says more"},
		problem.Problem{Severity: problem.Warning, Part: "phones", What: "1 unknown phones wait for approval", Fix: "sae-agent phones lists them, sae-agent phones approve MAC gives one a line"},
	)
	st.Stacks = []control.Stack{{Name: "jitsi", State: "starting", Pull: control.StackPull{Image: "jitsi/web:stable-1", Number: 1, Of: 4, Done: 52_000_000, Total: 104_000_000, Left: 30}}}
	for _, lang := range translate.Languages() {
		var plain bytes.Buffer
		readerIn(t, lang).status(&plain, st, statusTime)
		golden.Equal(t, "testdata/status-"+lang+".golden", plain.Bytes())
	}
}

// readerIn is a reader of a language, of a file.
func readerIn(t *testing.T, lang string) reader {
	t.Helper()
	tr, err := translate.New(lang)
	if err != nil {
		t.Fatal(err)
	}
	return reader{Translator: tr}
}

// The language is that of --lang, or of the environment.
func TestReadersLanguage(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want string
	}{
		{nil, nil, "never"},
		{nil, map[string]string{"LANG": "fr_FR.UTF-8"}, "jamais"},
		{nil, map[string]string{"LANG": "fr_FR.UTF-8", "LC_ALL": "C"}, "never"},
		{nil, map[string]string{"LANG": "C", "LC_MESSAGES": "fr_CA.UTF-8"}, "jamais"},
		{[]string{"--lang", "en"}, map[string]string{"LANG": "fr_FR.UTF-8"}, "never"},
		{[]string{"--lang", "fr"}, nil, "jamais"},
	} {
		for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
			t.Setenv(name, c.env[name])
		}
		cmd := newStatusCommand()
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		r, err := readerOf(cmd)
		if got := r.Sentence("never"); err != nil || got != c.want {
			t.Errorf("%q %v: %q, %v", c.args, c.env, got, err)
		}
	}
	var out bytes.Buffer
	if status := execute(t.Context(), []string{"status", "--lang", "de"}, &out, &out); status != exitUsage || !strings.Contains(out.String(), "only en and fr") {
		t.Errorf("German: status %d, %s", status, &out)
	}
}

func TestVerdict(t *testing.T) {
	bad, odd := problem.Problem{Severity: problem.Error}, problem.Problem{Severity: problem.Warning}
	for want, problems := range map[string][]problem.Problem{
		"\x1b[32mEverything is fine.\x1b[0m":                  nil,
		"\x1b[1;31m1 error\x1b[0m":                            {bad},
		"\x1b[33m2 warnings\x1b[0m":                           {odd, odd},
		"\x1b[1;31m2 errors\x1b[0m, \x1b[33m1 warning\x1b[0m": {bad, bad, odd},
	} {
		if got := (reader{paint: true}).verdict(problems); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A terminal gets colours unless NO_COLOR or TERM says otherwise; a pipe never does.
func TestColours(t *testing.T) {
	if bool(painter(&bytes.Buffer{})) {
		t.Error("colours for a pipe")
	}
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0) // the master answers for its terminal
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	for _, c := range []struct {
		noColor, term string
		want          bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		t.Setenv("NO_COLOR", c.noColor)
		t.Setenv("TERM", c.term)
		if got := bool(painter(tty)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// --watch goes on while the daemon is away, and ends well when it is interrupted.
func TestWatchWithoutDaemon(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &firstWrite{then: cancel}
	if status := execute(ctx, []string{"status", "--watch", "--runtime-dir", t.TempDir()}, out, out); status != exitOK {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(out.text.String(), "sae-agent does not run") {
		t.Errorf("%s", &out.text)
	}
}

// firstWrite does something after the first write.
type firstWrite struct {
	text bytes.Buffer
	then func()
}

func (w *firstWrite) Write(b []byte) (int, error) {
	defer w.then()
	return w.text.Write(b)
}
