// Package takeover makes room for the agent on a machine that was set up
// otherwise: it stops other DHCP and TFTP servers and has other managers leave the
// cards alone. Everything that it does it can undo.
//
// What to do is decided by a pure function (Plan); what was done is on disk before
// it is done. It knows nothing of what the agent then does with the cards.
package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// Kind is what a step does.
type Kind string

// Kinds of steps.
const (
	StopUnit   Kind = "stop-unit"   // and mask it
	WriteFile  Kind = "write-file"  // a whole file
	ReloadUnit Kind = "reload-unit" // have it read its configuration again, after doing and undoing
	EndProcess Kind = "end-process" // cannot be undone
	TakeCard   Kind = "take-card"   // nothing to do, but to undo: its addresses go, its manager's come
)

// Step is one thing to do.
type Step struct {
	Kind      Kind   `json:"kind"`
	Unit      string `json:"unit,omitempty"`
	WasActive bool   `json:"was_active,omitempty"`
	Path      string `json:"path,omitempty"`
	Before    string `json:"before,omitempty"` // what the file holds; empty and New: there was none
	New       bool   `json:"new,omitempty"`
	After     string `json:"after,omitempty"`
	PID       int    `json:"pid,omitempty"`
	Program   string `json:"program,omitempty"`
	Card      string `json:"card,omitempty"`
	Ifupdown  bool   `json:"ifupdown,omitempty"`  // the card is brought up by ifup
	Addressed bool   `json:"addressed,omitempty"` // it had an address that was not ours
	Container string `json:"container,omitempty"`
	Restart   string `json:"restart,omitempty"` // the container's policy
	Why       string `json:"why"`
}

// String says what the step does.
func (s Step) String() string {
	what := ""
	switch s.Kind {
	case StopUnit:
		what = "stop and mask " + s.Unit
	case WriteFile:
		what = "change " + s.Path
		if s.New {
			what = "write " + s.Path
		}
	case ReloadUnit:
		what = "reload " + s.Unit
	case EndProcess:
		what = fmt.Sprintf("end %s (process %d)", s.Program, s.PID)
	case StopFirewall:
		what = "disable FreePBX's own firewall"
	case TakeCard:
		what = "take " + s.Card
	case StopContainer:
		what = "stop the container " + s.Container
	}
	return what + ": " + s.Why
}

// System is what steps are done with.
type System interface {
	Mask(ctx context.Context, unit string) error
	Unmask(ctx context.Context, unit string, start bool) error
	Reload(ctx context.Context, unit string) error
	// Retire stops a unit that runs, and keeps it from starting with the machine.
	Retire(ctx context.Context, unit string) error
}

// Cards is what cards are given back with.
type Cards interface {
	// Release removes the addresses that the agent has added.
	Release(card string) error
	// Ifup has ifupdown bring a card up.
	Ifup(ctx context.Context, card string) error
	// Addressed reports whether a card has an IPv4 address that is not the agent's.
	Addressed(card string) bool
}

// Machine is what Plan decides by.
type Machine struct {
	Units   map[string]runner.UnitState // those of KnownUnits that are installed, and Holders
	Holders []string                    // units that hold UDP port 67 or 69
	Cards   []string                    // to be ours
	Clients []Client                    // DHCP clients that run for them
	Files   map[string]string           // content of the files of ifupdown, by path

	Addressed []string // cards with an address that is not ours

	Firewall Firewall
	Updaters []Container

	// Leases are those of the DHCP servers, and LeasesPath is where ours looks for them.
	Leases     []leasefile.Lease
	LeasesPath string
}

// Client is a DHCP client's process.
type Client struct {
	Card, Program string
	PID           int
}

const (
	networkManager = "NetworkManager.service"
	networkd       = "systemd-networkd.service"
)

// knownServers are DHCP and TFTP servers of Debian.
var knownServers = []string{"isc-dhcp-server.service", "kea-dhcp4-server.service", "udhcpd.service", "tftpd-hpa.service", "atftpd.service"}

// KnownUnits are the units whose state Plan wants to know.
func KnownUnits() []string { return append([]string{networkManager, networkd}, knownServers...) }

// Plan lists what to do. Nothing is to be done twice: what is as it should be has
// no step.
func Plan(m Machine) []Step {
	managers := slices.Concat(planNetworkManager(m), planNetworkd(m), planIfupdown(m), planClients(m))
	if len(managers) > 0 {
		managers = append(managers, planCards(m)...)
	}
	return slices.Concat(planLeases(m), planServers(m), managers, planFirewall(m), planUpdaters(m))
}

// planCards notes how each card was.
func planCards(m Machine) (out []Step) {
	for _, card := range m.Cards {
		out = append(out, Step{
			Kind: TakeCard, Card: card, Ifupdown: len(planIfupdown(Machine{Files: m.Files, Cards: []string{card}})) > 0,
			Addressed: slices.Contains(m.Addressed, card), Why: "its addresses are those of the configuration",
		})
	}
	return out
}

func planServers(m Machine) (out []Step) {
	for _, unit := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(knownServers, m.Holders)))) {
		st, ok := m.Units[unit]
		if ok && !st.Masked && (st.Active || st.Enabled) {
			out = append(out, Step{Kind: StopUnit, Unit: unit, WasActive: st.Active, Why: "sae-agent serves DHCP and TFTP"})
		}
	}
	return out
}

const head = "# Written by 'sae-agent takeover'; 'sae-agent takeover --undo' removes it.\n"

func planNetworkManager(m Machine) []Step {
	if _, ok := m.Units[networkManager]; !ok || len(m.Cards) == 0 {
		return nil
	}
	var names []string
	for _, c := range m.Cards {
		names = append(names, "interface-name:"+c)
	}
	return m.write(networkManager, "NetworkManager leaves "+strings.Join(m.Cards, " and ")+" alone",
		file{"/etc/NetworkManager/conf.d/90-sae-agent.conf", head + "[keyfile]\nunmanaged-devices+=" + strings.Join(names, ";") + "\n"})
}

func planNetworkd(m Machine) []Step {
	if st, ok := m.Units[networkd]; !ok || (!st.Active && !st.Enabled) || len(m.Cards) == 0 {
		return nil
	}
	return m.write(networkd, "systemd-networkd leaves "+strings.Join(m.Cards, " and ")+" and routes that are not its own alone",
		file{"/etc/systemd/network/05-sae-agent.network", head + "[Match]\nName=" + strings.Join(m.Cards, " ") + "\n\n[Link]\nUnmanaged=yes\n"},
		file{"/etc/systemd/networkd.conf.d/90-sae-agent.conf", head + "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"})
}

type file struct{ path, content string }

// write lists the steps for files that differ, and has their reader reload them.
func (m Machine) write(reader, why string, files ...file) (out []Step) {
	for _, f := range files {
		before, exists := m.Files[f.path]
		if before == f.content {
			continue
		}
		out = append(out, Step{Kind: WriteFile, Path: f.path, Before: before, New: !exists, After: f.content, Why: why})
	}
	if len(out) > 0 && m.Units[reader].Active {
		out = append(out, Step{Kind: ReloadUnit, Unit: reader, Why: "it reads them"})
	}
	return out
}

func planIfupdown(m Machine) (out []Step) {
	paths := make([]string, 0, len(m.Files))
	for path := range m.Files {
		if strings.HasPrefix(path, "/etc/network/") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		if after := withoutCards(m.Files[path], m.Cards); after != m.Files[path] {
			out = append(out, Step{Kind: WriteFile, Path: path, Before: m.Files[path], After: after, Why: "ifupdown leaves " + strings.Join(m.Cards, " and ") + " alone"})
		}
	}
	return out
}

func planClients(m Machine) (out []Step) {
	for _, c := range m.Clients {
		if slices.Contains(m.Cards, c.Card) {
			out = append(out, Step{Kind: EndProcess, PID: c.PID, Program: c.Program, Why: "sae-agent asks for the address of " + c.Card})
		}
	}
	return out
}

// Takeover does and undoes steps.
type Takeover struct {
	System System
	Cards  Cards
	// Fwconsole switches FreePBX's firewall.
	Fwconsole Fwconsole
	Docker    Docker
	Root      string // of the machine's files; usually /
	Record    string // file in which to note what was done
}

// Do does the steps. The note of a step is on disk before it is done, so that what
// a crash leaves half done can be undone.
func (t Takeover) Do(ctx context.Context, steps []Step) error {
	done, err := t.Done()
	if err != nil {
		return err
	}
	for _, s := range steps {
		done = append(done, s)
		if err := t.note(done); err != nil {
			return err
		}
		if err := t.do(ctx, s); err != nil {
			return fmt.Errorf("%s: %w; what was done before can be undone with --undo", s, err)
		}
	}
	return nil
}

// Done lists what was done and not undone.
func (t Takeover) Done() ([]Step, error) {
	data, err := os.ReadFile(t.Record)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("takeover: %w", err)
	}
	var out []Step
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("takeover: %s is damaged: %w", t.Record, err)
	}
	return out, nil
}

func (t Takeover) note(steps []Step) error {
	data, err := json.MarshalIndent(steps, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.Record), 0o700); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	if err := durable.WriteFile(t.Record, data, 0o600); err != nil {
		return fmt.Errorf("takeover: note what is done: %w", err)
	}
	return nil
}

func (t Takeover) do(ctx context.Context, s Step) error {
	switch s.Kind {
	case StopUnit:
		return t.System.Mask(ctx, s.Unit)
	case ReloadUnit:
		return t.System.Reload(ctx, s.Unit)
	case WriteFile:
		return t.write(s.Path, s.After)
	case StopFirewall:
		return t.switchFirewall(ctx, "disable")
	case TakeCard:
		return nil
	case StopContainer:
		return t.stopContainer(ctx, s)
	case EndProcess:
		if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return nil
	}
	return fmt.Errorf("no such step: %q", s.Kind)
}

// agentUnits are our own. They are retired when everything is given back, since they hold the cards and the ports.
var agentUnits = []string{"sae-agent.service", "sae-agent-boot.service"}

// addressTime is how long a card's manager may take to give it an address again.
const addressTime = 20 * time.Second

// Undo gives back what was taken: the agent ends, files come back, then cards, and then servers, which want them to
// have their addresses. It goes on after a failure; what failed stays noted, and the reasons are returned.
func (t Takeover) Undo(ctx context.Context) error {
	steps, err := t.Done()
	if err != nil || len(steps) == 0 {
		return err
	}
	for _, unit := range agentUnits {
		if err := t.System.Retire(ctx, unit); err != nil {
			return fmt.Errorf("undo nothing, since the agent holds all: %w", err)
		}
	}
	var left []Step
	var errs []error
	for stage, some := range stages(steps) {
		for _, s := range some {
			if err := t.undo(ctx, s); err != nil {
				left, errs = append([]Step{s}, left...), append(errs, fmt.Errorf("undo %q: %w", s, err))
			}
		}
		if stage == cardsUp {
			errs = append(errs, t.wait(ctx, some))
		}
	}
	if len(left) > 0 {
		return errors.Join(append(errs, t.note(left))...)
	}
	if err := os.Remove(t.Record); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("takeover: %w", err))
	}
	return errors.Join(errs...)
}

// Stages of giving back.
const (
	files = iota
	cardsUp
	servers
)

// stages returns the steps in the order of undoing, the last first in each stage.
func stages(steps []Step) (out [servers + 1][]Step) {
	for _, s := range slices.Backward(steps) {
		stage := files
		switch s.Kind {
		case TakeCard, ReloadUnit:
			stage = cardsUp
		case StopUnit, StopFirewall, StopContainer:
			stage = servers
		}
		out[stage] = append(out[stage], s)
	}
	return out
}

// wait waits until the cards that had addresses have some again.
func (t Takeover) wait(ctx context.Context, steps []Step) error {
	ctx, cancel := context.WithTimeout(ctx, addressTime)
	defer cancel()
	for _, s := range steps {
		for s.Kind == TakeCard && s.Addressed && !t.Cards.Addressed(s.Card) {
			if !pause.For(ctx, 100*time.Millisecond) {
				return fmt.Errorf("undo: %s had an address before, and has none again: look at what manages it", s.Card)
			}
		}
	}
	return nil
}

func (t Takeover) undo(ctx context.Context, s Step) error {
	switch s.Kind {
	case StopUnit:
		return t.System.Unmask(ctx, s.Unit, s.WasActive)
	case ReloadUnit:
		return t.System.Reload(ctx, s.Unit)
	case WriteFile:
		return t.restore(s)
	case StopFirewall:
		return t.switchFirewall(ctx, "start")
	case TakeCard:
		return t.giveBack(ctx, s)
	case StopContainer:
		return t.startContainer(ctx, s)
	}
	return nil // a process does not come back by itself
}

// giveBack leaves a card to its manager. One that reloads its files finds it by itself.
func (t Takeover) giveBack(ctx context.Context, s Step) error {
	if err := t.Cards.Release(s.Card); err != nil || !s.Ifupdown {
		return err
	}
	return t.Cards.Ifup(ctx, s.Card)
}

// restore puts a file back, unless somebody has edited it since.
func (t Takeover) restore(s Step) error {
	now, err := os.ReadFile(filepath.Join(t.Root, s.Path))
	switch {
	case errors.Is(err, os.ErrNotExist) && s.New, err == nil && string(now) == s.Before && !s.New:
		return nil // as it was
	case err == nil && string(now) != s.After:
		return fmt.Errorf("%s was edited since: put it right by hand, then remove %s", s.Path, t.Record)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if s.New {
		return os.Remove(filepath.Join(t.Root, s.Path))
	}
	return t.write(s.Path, s.Before)
}

// output runs a program and returns what it printed; an error says what was to be done.
func output(ctx context.Context, what, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", what, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func (t Takeover) write(path, content string) error {
	path = filepath.Join(t.Root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(content), 0o644)
}
