package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/parts/provisioning"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// tenLines is a file without an exchange.
const tenLines = `
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
pbx: {driver: none}
extensions: [{number: "100", name: Alice}]
phones: [{mac: "00:15:65:00:00:01", model: T42U, extension: "100"}]
`

// newAgent returns an agent that has a file, and what writes another one.
func newAgent(t *testing.T, log *slog.Logger, file string) (*Agent, func(string)) {
	t.Helper()
	dir := t.TempDir()
	opts := Options{
		Paths:  part.Paths{Config: filepath.Join(dir, "config.yaml"), State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run")},
		Logger: log,
	}
	write := func(text string) {
		if err := os.WriteFile(opts.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file)
	a, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return a, write
}

// digests are those of every file below a folder.
func digests(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := make(map[string][32]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = sha256.Sum256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Asking never writes: no query changes a byte of the state folder, also when the
// file has something new that needs a password.
func TestAskingNeverWrites(t *testing.T) {
	a, write := newAgent(t, slog.New(slog.DiscardHandler), tenLines)
	before := digests(t, a.opts.State)
	write(strings.Replace(tenLines, `name: Alice}`, `name: Alice}, {number: "101"}`, 1))
	for range 2 {
		if p, err := a.getPlan(t.Context(), control.None{}); err != nil || len(p.Config) == 0 {
			t.Fatalf("plan: %+v, %v", p, err)
		}
		if st := a.status(); !st.Config.NotApplied || st.Config.FileError != "" {
			t.Errorf("status: %+v", st.Config)
		}
		_ = a.health()
	}
	if after := digests(t, a.opts.State); !maps.Equal(before, after) {
		t.Error("a query has changed the state folder")
	}
}

// A configuration that was applied once runs, whatever a later version forbids: that
// is a problem of the running one, and an error for a new apply.
func TestWhatWasAcceptedOnceRuns(t *testing.T) {
	dir := t.TempDir()
	paths := part.Paths{Config: filepath.Join(dir, "config.yaml"), State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run")}
	outdated := strings.Replace(tenLines, `extension: "100"}`, `extension: "999"}`, 1) // an extension that is not in the file
	for _, d := range []string{paths.State, paths.Runtime} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h, err := history.Open(paths.InState(historyDir), paths.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add([]byte(outdated), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths.Config, []byte(outdated), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), Options{Paths: paths, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Running().Config.Phones; len(got) != 1 {
		t.Errorf("phones: %+v", got)
	}
	found := false
	for _, p := range a.status().Problems {
		found = found || p.ID == problem.ConfigOutdated && strings.Contains(p.What, "999")
	}
	if !found {
		t.Errorf("problems: %+v", a.status().Problems)
	}
	var refused *control.Error
	if _, err := a.applyFile(t.Context(), control.ApplyOptions{}); !errors.As(err, &refused) {
		t.Errorf("a new apply of it: %v", err)
	}
}

// stubborn is a part that panics, hangs, or is well.
type stubborn struct {
	name    string
	release chan struct{}
	run     func(ctx context.Context, release <-chan struct{}) error
}

func (s stubborn) Name() string { return s.name }

func (s stubborn) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[uint64]{
		Name:    s.name,
		Desired: func(_ context.Context, in part.Input) (uint64, bool, error) { return in.Generation, true, nil },
		Build: func(context.Context, uint64) (part.Run[uint64], error) {
			return part.Run[uint64]{Run: func(ctx context.Context) error { return s.run(ctx, s.release) }}, nil
		},
	})}
}

// A part that never returns and one that panics stop no other, no status and no apply.
func TestAPartThatHangsStopsNoOther(t *testing.T) {
	a, write := newAgent(t, slog.New(slog.DiscardHandler), tenLines)
	release := make(chan struct{})
	a.parts = append(a.parts,
		stubborn{"hangs", release, func(_ context.Context, release <-chan struct{}) error { <-release; return nil }},
		stubborn{"panics", release, func(context.Context, <-chan struct{}) error { panic("broken") }},
		stubborn{"well", release, func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return nil }},
	)
	a.supervisor = supervisor.New(unitsOf(a.parts[len(a.parts)-3:]), supervisor.Options{Input: a.Running, Logger: a.log})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	write(strings.Replace(tenLines, "Alice", "Alicia", 1))
	plan, err := a.apply(ctx, control.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	behind := make(map[string]bool)
	for _, b := range plan.Behind {
		behind[b.Part] = true
	}
	if !behind["hangs"] || !behind["panics"] || behind["well"] {
		t.Errorf("behind: %+v", plan.Behind)
	}
	ids := make(map[problem.ID]string)
	for _, p := range a.status().Problems {
		ids[p.ID] = p.Part
	}
	if ids[problem.PartStuck] != "hangs" || ids[problem.PartFailed] != "panics" {
		t.Errorf("problems: %v", ids)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(release)
}

// What anybody on the LAN can cause fills neither the log nor what the daemon remembers.
func TestFloodDoesNotFillTheLog(t *testing.T) {
	var log bytes.Buffer
	a, _ := newAgent(t, slog.New(slog.NewTextHandler(&log, nil)), tenLines)
	var p *provisioning.Part
	for _, x := range a.parts {
		if found, ok := x.(*provisioning.Part); ok {
			p = found
		}
	}
	log.Reset()
	const flood = 5000
	for i := range flood {
		station := net.HardwareAddr{0x00, 0x15, 0x65, 1, byte(i >> 8), byte(i)}
		addr := netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})
		if _, err := p.OpenFile(t.Context(), phones.Request{Client: addr, Name: "001565000001.cfg", Transport: "tftp"}); err == nil {
			t.Fatal("a phone's file was given to somebody else")
		}
		p.Seen(phones.Sighting{MAC: station, At: time.Now()})
	}
	if n := bytes.Count(log.Bytes(), []byte("\n")); n > 2*100 {
		t.Errorf("%d lines of log for %d packets of each of 2 kinds", n, flood)
	}
	remembered := 0
	_ = a.events.Read(t.Context(), events.Filter{}, false, func(events.Event) error { remembered++; return nil })
	if remembered > 2*100 {
		t.Errorf("%d events are remembered", remembered)
	}
}
