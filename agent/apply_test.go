package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

// A change that would lock out somebody who is logged in over SSH is made only when it
// is asked for in so many words, or when it undoes itself.
func TestNoChangeLocksOutItsAuthor(t *testing.T) {
	open := tenLines + "firewall: {wan_allow: [ssh]}\n"
	a, write := newAgent(t, slog.New(slog.DiscardHandler), open)
	goesBack(t, a)
	asked := -1
	a.opts.Sessions = func(caller int) ([]part.Session, error) {
		asked = caller
		return []part.Session{{Peer: netip.MustParseAddr("198.51.100.1"), Local: netip.MustParseAddrPort("198.51.100.50:22"), Link: "ens33"}}, nil
	}
	apply := func(o control.ApplyOptions) error {
		_, err := a.applyFile(t.Context(), o)
		return err
	}
	refused := func(err error) {
		t.Helper()
		var e *control.Error
		if !errors.As(err, &e) || len(e.Details) != 1 || !strings.Contains(e.Details[0], "198.51.100.1") || !strings.Contains(e.Details[0], "firewall.wan_allow: [ssh]") {
			t.Errorf("%#v", err)
		}
		if !a.Running().Config.WANOpen("ssh") {
			t.Error("it was made all the same")
		}
	}
	write(tenLines)
	refused(apply(control.ApplyOptions{}))
	refused(a.Apply(t.Context())) // as at SIGHUP
	if asked != 0 {
		t.Errorf("asked about process %d, where nobody asks", asked)
	}
	if err := apply(control.ApplyOptions{Confirm: time.Minute}); err != nil || a.Running().Config.WANOpen("ssh") {
		t.Errorf("with --confirm: %v", err)
	}
	if _, err := a.goBack(t.Context(), control.RollbackOptions{}); err != nil || !a.Running().Config.WANOpen("ssh") {
		t.Errorf("going back from what nobody confirmed: %v", err)
	}
	if err := apply(control.ApplyOptions{Force: true}); err != nil || a.Running().Config.WANOpen("ssh") {
		t.Errorf("with --force: %v", err)
	}
	write(strings.Replace(tenLines, "Alice", "Alicia", 1))
	if err := apply(control.ApplyOptions{}); err != nil {
		t.Errorf("closed before and after: %v", err)
	}
	write(strings.Replace(open, "Alice", "Alina", 1))
	if err := apply(control.ApplyOptions{}); err != nil {
		t.Errorf("opened: %v", err)
	}
	_, err := a.goBack(t.Context(), control.RollbackOptions{})
	refused(err)
	if _, err := a.goBack(t.Context(), control.RollbackOptions{Force: true}); err != nil || a.Running().Config.WANOpen("ssh") {
		t.Errorf("rollback --force: %v", err)
	}
}

// An apply of what runs has what failed tried again at once, not after its delay: each generation is.
func TestApplyOfWhatRunsTriesAgain(t *testing.T) {
	a, _ := newAgent(t, slog.New(slog.DiscardHandler), tenLines)
	before := a.Running()
	if _, err := a.applyFile(t.Context(), control.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if after := a.Running(); after.Generation <= before.Generation || after.Config != before.Config {
		t.Errorf("generation %d after %d", after.Generation, before.Generation)
	}
}

// init knows what runs, or ran last.
func TestCurrentOffline(t *testing.T) {
	a, write := newAgent(t, slog.New(slog.DiscardHandler), tenLines)
	o := Offline{Paths: a.opts.Paths}
	write("changed: since")
	if data, err := o.Current(); err != nil || string(data) != tenLines {
		t.Errorf("%v: %s", err, data)
	}
	o.State = t.TempDir()
	if data, err := o.Current(); err != nil || data != nil {
		t.Errorf("where nothing ran: %v: %s", err, data)
	}
	if left, _ := os.ReadDir(o.State); len(left) > 0 {
		t.Errorf("asking has made %v", left)
	}
}
