// Package extensions is the part that looks after the secrets of extensions: it shows and changes them, and has one
// changed when a phone that knew it leaves the configuration.
package extensions

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	name = "extensions"
	// retry is after which time what did not succeed is tried again; a step without news costs nothing.
	retry = 10 * time.Second
	// registrationsKnown is how old the last look at the exchange may be for who is registered there.
	registrationsKnown = time.Minute
)

// Deps are facts of other parts.
type Deps struct {
	// State is what is known of the exchange; false: there is none that we watch.
	State func() (pbx.State, bool)
	// Secrets are those that the exchange is known to have, by extension; nil: not known.
	Secrets func() map[string]string
	// DeviceOf tells which device a registration is of, by the MAC of its phone; false: not known.
	DeviceOf func(pbx.Registration) (net.HardwareAddr, bool)
}

// Part looks after the secrets of extensions.
type Part struct {
	host part.Host
	deps Deps
	log  *slog.Logger
	due  signal.Signal // a step

	mu    sync.Mutex // guards the following
	lines map[string]line
}

// New returns the part.
func New(h part.Host, d Deps) *Part {
	return &Part{host: h, deps: d, log: h.Logger(name), due: signal.New(), lines: make(map[string]line)}
}

// Name implements part.Part.
func (p *Part) Name() string { return name }

func (p *Part) record() string { return p.host.Paths().InState("extensions.json") }

// Open implements part.Opener.
func (p *Part) Open(context.Context, part.Input) error {
	lines, err := loadLines(p.record())
	if err != nil { // a phone that has left in the meantime is not noticed
		p.log.Error("cannot tell which phones had which secret", "err", err)
	}
	p.lines = lines
	return nil
}

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[Config]{
		Name:    name,
		Desired: func(_ context.Context, in part.Input) (Config, bool, error) { return Desired(in), true, nil },
		Build: func(context.Context, Config) (part.Run[Config], error) {
			return part.Run[Config]{Run: p.run, Apply: func(context.Context, Config) error { p.due.Notify(); return nil }}, nil
		},
	})}
}

// Desired is who has which extension.
func Desired(in part.Input) Config {
	c := Config{
		pending: in.Pending, watched: in.Config.PBX.Driver != config.DriverNone,
		phones: make(map[string]bool), phonesOf: make(map[string][]string),
	}
	for _, ph := range in.Config.Phones {
		for _, mac := range append([]net.HardwareAddr{ph.MAC}, ph.Also...) {
			c.phones[mac.String()] = true
		}
		c.phonesOf[ph.Extension] = append(c.phonesOf[ph.Extension], ph.MAC.String())
	}
	for _, e := range in.Config.Extensions {
		c.lines = append(c.lines, configured{number: e.Number, secret: hash(e.SecretFrom(in.Secrets)), generated: e.Secret == ""})
	}
	return c
}

func (p *Part) run(ctx context.Context) error {
	for {
		if err := p.step(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("the secret of an extension could not be changed, it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.due.C():
		case <-time.After(retry):
		}
	}
}

// step notes who has left, and changes the secrets that nobody else needs.
func (p *Part) step(ctx context.Context) error {
	c := Desired(p.host.Running())
	p.mu.Lock()
	err := p.keep(follow(p.lines, c))
	lines := maps.Clone(p.lines)
	p.mu.Unlock()
	st, known := p.registrations()
	if err != nil || c.pending || !c.watched || !known {
		return err
	}
	var numbers, names []string
	for _, number := range slices.Sorted(maps.Keys(lines)) {
		if l := lines[number]; len(l.Left) > 0 && l.Generated && len(p.others(number, l, c, st)) == 0 {
			numbers, names = append(numbers, number), append(names, config.SecretName(number))
		}
	}
	if len(names) == 0 {
		return nil
	}
	behind, err := p.host.Renew(ctx, names...)
	if err != nil {
		return err
	}
	p.log.Info("the secrets of extensions were changed because their phones have left", "extensions", strings.Join(numbers, " "), "behind", len(behind))
	p.mu.Lock()
	defer p.mu.Unlock()
	next := maps.Clone(p.lines)
	for _, number := range numbers {
		if next[number].Secret == lines[number].Secret { // of an extension that is in no file any more, or not followed yet
			delete(next, number)
		}
	}
	return p.keep(next)
}

// keep takes a record over once it is on disk. The caller holds p.mu.
func (p *Part) keep(lines map[string]line) error {
	if reflect.DeepEqual(lines, p.lines) {
		return nil
	}
	if err := saveLines(p.record(), lines); err != nil {
		return err
	}
	p.lines = lines
	return nil
}

// registrations is the exchange as it is now; false: it is not known who is registered.
func (p *Part) registrations() (pbx.State, bool) {
	st, ok := p.deps.State()
	return st, ok && time.Since(st.Observed) < registrationsKnown
}

// others are the devices that need an extension's secret besides those that have left.
func (p *Part) others(number string, l line, c Config, st pbx.State) (out []string) {
	now := c.phonesOf[number]
	for _, mac := range l.Shared {
		if slices.Contains(now, mac) {
			out = append(out, mac)
		}
	}
	if l.Softphone {
		out = append(out, "a softphone that was set up with a link")
	}
	for _, r := range st.Lines[number].Registrations {
		mac, known := p.deps.DeviceOf(r)
		ours := known && (slices.Contains(l.Left, mac.String()) || slices.Contains(now, mac.String()))
		if addr := r.Remote.Addr().String(); !ours && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
}

// Linked notes that a link was made that sets a softphone up with an extension.
func (p *Part) Linked(number string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := follow(p.lines, Desired(p.host.Running()))
	l := next[number]
	l.Softphone = true
	next[number] = l
	if err := p.keep(next); err != nil {
		p.log.Error("cannot note that a softphone has an extension", "extension", number, "err", err)
	}
}

// OnlyUser reports whether no device but a phone uses an extension, as far as is known.
func (p *Part) OnlyUser(number string, mac net.HardwareAddr) bool {
	c := Desired(p.host.Running())
	p.mu.Lock()
	l := follow(p.lines, c)[number]
	p.mu.Unlock()
	st, known := p.registrations()
	l.Left = append(slices.Clip(l.Left), mac.String())
	alone := !slices.ContainsFunc(c.phonesOf[number], func(other string) bool { return other != mac.String() })
	return alone && known && len(p.others(number, l, c, st)) == 0
}

func anyLeft(lines map[string]line) bool {
	for _, l := range lines {
		if len(l.Left) > 0 {
			return true
		}
	}
	return false
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) (out []problem.Problem) {
	p.mu.Lock()
	lines := p.lines
	p.mu.Unlock()
	if !anyLeft(lines) {
		return nil // as a rule, and the status is asked for often
	}
	c := Desired(p.host.Running())
	st, _ := p.registrations()
	for _, x := range c.lines {
		l := lines[x.number]
		if len(l.Left) == 0 || l.Secret != x.secret || c.pending {
			continue
		}
		others := p.others(x.number, l, c, st)
		if l.Generated && c.watched && len(others) == 0 {
			continue // it is being changed
		}
		cost := "no other device is known to need the new one"
		if len(others) > 0 {
			cost = "those who need the new one then, which phones of the file fetch by themselves: " + strings.Join(others, ", ")
		}
		if !c.watched {
			cost += "; the exchange must be told, too"
		}
		out = append(out, problem.Problem{
			ID: problem.SecretKnown, Severity: problem.Warning, Part: name, Subject: x.number,
			What: fmt.Sprintf("%s is no phone of the file any more and knows the secret of extension %s", strings.Join(l.Left, ", "), x.number),
			Fix:  "sae-agent extensions rotate " + x.number + " (" + cost + ")",
		})
	}
	return out
}
