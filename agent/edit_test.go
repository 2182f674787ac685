package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/parts/provisioning"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

const commented = `# The front office
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
pbx: {driver: none}
extensions: # people
  - {number: "100", name: Alice} # since 2019
  - {number: "101", name: Bob}
phones:
  # by the door
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "100"}
`

// editor is an agent whose phones can be edited.
type editor struct {
	*Agent
	t      *testing.T
	write  func(string)
	client *control.Client
}

func newEditor(t *testing.T) *editor {
	t.Helper()
	a, write := newAgent(t, slog.New(slog.DiscardHandler), commented)
	a.supervisor = supervisor.New(nil, supervisor.Options{Input: a.Running, Logger: a.log}) // nothing of this machine is touched
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.supervisor.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	var handlers []control.Handler
	for _, p := range a.parts {
		if p, ok := p.(*provisioning.Part); ok {
			handlers = p.Operations()
			p.Seen(phones.Sighting{MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 9}, At: time.Now(), Class: "yealink SIP-T54W"})
		}
	}
	return &editor{a, t, write, controltest.Client(t, handlers...)}
}

func (e *editor) file() string {
	e.t.Helper()
	data, err := os.ReadFile(e.opts.Config)
	if err != nil {
		e.t.Fatal(err)
	}
	return string(data)
}

// is fails the test unless the file is so, and runs.
func (e *editor) is(want string) {
	e.t.Helper()
	if d := cmp.Diff(want, e.file()); d != "" {
		e.t.Error(d)
	}
	if d := cmp.Diff(want, string(e.current.Load().data)); d != "" {
		e.t.Errorf("what runs: %s", d)
	}
}

// refuses fails the test unless an order was refused with some words.
func (e *editor) refuses(err error, words ...string) {
	e.t.Helper()
	var c *control.Error
	if !errors.As(err, &c) {
		e.t.Errorf("it was done: %v", err)
		return
	}
	text := c.Message + "\n" + strings.Join(c.Details, "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			e.t.Errorf("%q lacks %q", text, w)
		}
	}
}

func call[Req, Resp any](e *editor, op control.Operation[Req, Resp], r Req) error {
	_, err := control.Call(e.t.Context(), e.client, op, r)
	return err
}

func (e *editor) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Error(err)
	}
}

// The life of a phone: each order is one line of the file, and nothing else of it changes.
func TestPhonesInTheFile(t *testing.T) {
	e := newEditor(t)
	third := control.NewPhone{MAC: "00-15-65-00-00-03", Model: "t46s", Extension: "102", Name: "Reception: front"}
	dry := third
	dry.DryRun = true
	e.ok(call(e, control.AddPhone, dry))
	e.is(commented)
	e.ok(call(e, control.AddPhone, third))
	want := strings.Replace(commented, "name: Bob}\n", "name: Bob}\n  - {number: \"102\", name: \"Reception: front\"}\n", 1) +
		"  - {mac: \"00:15:65:00:00:03\", model: T46S, extension: \"102\"}\n"
	e.is(want)
	e.ok(call(e, control.ApprovePhone, control.Approval{MAC: "001565000009"})) // its model and its number are known
	want = strings.Replace(want, "front\"}\n", "front\"}\n  - {number: \"103\"}\n", 1) + "  - {mac: \"00:15:65:00:00:09\", model: T54W, extension: \"103\"}\n"
	e.is(want)
	e.ok(call(e, control.ReplacePhone, control.Replacement{MAC: "00:15:65:00:00:01", New: "00:15:65:00:00:11"}))
	want = strings.Replace(want, "65:00:00:01", "65:00:00:11", 1)
	e.is(want)
	e.ok(call(e, control.RemovePhone, control.Removal{MAC: "00:15:65:00:00:11"}))
	want = strings.Replace(want, "  - {mac: \"00:15:65:00:00:11\", model: T42U, extension: \"100\"}\n", "", 1)
	e.is(want)
	e.ok(call(e, control.RemovePhone, control.Removal{MAC: "00:15:65:00:00:03", Extension: true}))
	want = strings.Replace(want, "  - {number: \"102\", name: \"Reception: front\"}\n", "", 1)
	want = strings.Replace(want, "  - {mac: \"00:15:65:00:00:03\", model: T46S, extension: \"102\"}\n", "", 1)
	e.is(want)
	if fi, err := os.Stat(e.opts.Config); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode: %v, %v", fi.Mode(), err)
	}
}

// What cannot be done changes nothing.
func TestPhonesRefused(t *testing.T) {
	e := newEditor(t)
	for _, c := range []struct {
		err   error
		words string
	}{
		{call(e, control.AddPhone, control.NewPhone{MAC: "nonsense", Model: "T42U"}), "MAC"},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:02"}), "add --model"},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:02", Model: "T9000"}), "sae-agent models"},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:01", Model: "T42U"}), "in the file already"},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:02", Model: "T42U", Extension: "100"}), "phones replace 00:15:65:00:00:01 00:15:65:00:00:02"},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:02", Model: "T42U", Extension: "101", Name: "Carol"}), `"Bob"`},
		{call(e, control.AddPhone, control.NewPhone{MAC: "00:15:65:00:00:02", Model: "T42U", Extension: "x1"}), "not valid"},
		{call(e, control.ReplacePhone, control.Replacement{MAC: "00:15:65:00:00:05", New: "00:15:65:00:00:02"}), "no phone 00:15:65:00:00:05 is in the file"},
		{call(e, control.RemovePhone, control.Removal{MAC: "00:15:65:00:00:05"}), "no such phone"},
	} {
		e.refuses(c.err, c.words)
	}
	e.is(commented)
}

// An edit begins with what runs. Text that nobody applied, or that was taken back, is
// shown, and neither applied nor lost.
func TestEditKeepsOffUnappliedText(t *testing.T) {
	e := newEditor(t)
	goesBack(t, e.Agent)
	add := control.NewPhone{MAC: "00:15:65:00:00:02", Model: "T42U", Extension: "101"}
	edited := strings.Replace(commented, "Bob", "Bert", 1)

	e.write(edited)
	e.refuses(call(e, control.AddPhone, add), "has edits that were not applied", "~ extensions[101].name: Bob -> Bert", "--discard-edits")
	e.write("wan: [")
	e.refuses(call(e, control.AddPhone, add), "not applied", "config.yaml:1")

	e.write(edited)
	if _, err := e.applyFile(t.Context(), control.ApplyOptions{Confirm: time.Hour}); err != nil {
		t.Fatal(err)
	}
	e.refuses(call(e, control.AddPhone, add), "waits for its confirmation")
	if _, err := e.goBack(t.Context(), control.RollbackOptions{}); err != nil {
		t.Fatal(err)
	}
	e.refuses(call(e, control.AddPhone, add), "has edits that were not applied", "Bert")

	add.DiscardEdits, add.DryRun = true, true
	e.ok(call(e, control.AddPhone, add))
	if e.file() != edited {
		t.Error("a dry run has changed the file")
	}
	add.DryRun = false
	e.ok(call(e, control.AddPhone, add))
	e.is(commented + "  - {mac: \"00:15:65:00:00:02\", model: T42U, extension: \"101\"}\n")
	if kept, err := os.ReadFile(e.opts.Config + ".old"); err != nil || string(kept) != edited {
		t.Errorf("the edits were not kept: %v\n%s", err, kept)
	}
}

// A file that is a link elsewhere stays one.
func TestEditFollowsALink(t *testing.T) {
	e := newEditor(t)
	real := e.opts.Config + ".real"
	if err := errors.Join(os.Rename(e.opts.Config, real), os.Symlink(real, e.opts.Config)); err != nil {
		t.Fatal(err)
	}
	_, err := host{e.Agent}.Edit(t.Context(), control.EditOptions{}, func(f *edit.File) error {
		return f.Set("extensions", edit.Equal("number", "101"), edit.Field{Key: "secret", Value: "correct-horse-battery", Quoted: true})
	})
	e.ok(err)
	e.is(strings.Replace(commented, "name: Bob", `name: Bob, secret: "correct-horse-battery"`, 1))
	if fi, err := os.Lstat(e.opts.Config); err != nil || fi.Mode().Type() != os.ModeSymlink {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}

// goesBack gives an agent what it needs to go back from a change that nobody confirms.
func goesBack(t *testing.T, a *Agent) {
	plain := runner.Plain{Dir: t.TempDir()}
	a.opts.Runner, a.opts.RollbackCommand = plain, func(int) []string { return []string{"true"} }
	t.Cleanup(func() { // or it would wait for an hour
		if err := plain.Cancel(context.Background(), rollbackJob); err != nil {
			t.Error(err)
		}
	})
}

// New passwords run at once, all of them or none, and the file stays as it is.
func TestRenew(t *testing.T) {
	e := newEditor(t)
	goesBack(t, e.Agent)
	first := e.Running()
	behind, err := host{e.Agent}.Renew(t.Context(), "extension/100")
	second := e.Running()
	if err != nil || len(behind) > 0 || second.Generation <= first.Generation || second.Secrets["extension/100"] == first.Secrets["extension/100"] ||
		second.Secrets["extension/101"] != first.Secrets["extension/101"] {
		t.Errorf("%v, %v: %+v became %+v", behind, err, first, second)
	}
	e.is(commented)

	e.write(strings.Replace(commented, "Bob", "Bert", 1))
	if _, err := e.applyFile(t.Context(), control.ApplyOptions{Confirm: time.Hour}); err != nil {
		t.Fatal(err)
	}
	_, err = host{e.Agent}.Renew(t.Context(), "extension/100")
	e.refuses(err, "waits for its confirmation")
	if d := cmp.Diff(second.Secrets, e.Running().Secrets); d != "" {
		t.Errorf("refused, and changed:\n%s", d)
	}
}

var _ part.Host = host{}
