// Package stacks is the part that runs the Docker Compose stacks: meetings and files.
package stacks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/jitsi"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/nextcloud"
	"github.com/sae-agent/sae-agent/agent/stacks/registry"
)

const name = "stacks"

// dirName is the folder of the stacks in the state folder.
const dirName = "stacks"

// RoomHeader is the SIP header in which the exchange tells the gateway which meeting is meant.
const RoomHeader = jitsi.RoomHeader

// Deps are facts of other parts.
type Deps struct {
	Certificate func() (cert, key string, err error)
	Names       func() []string // by which people may ask for the pages
	// Registered reports whether an extension is registered at the exchange; known is
	// false while that is not known.
	Registered func(number string) (registered, known bool)
}

// Part runs the stacks.
type Part struct {
	host   part.Host
	deps   Deps
	stacks *stacks.Service // set by Open
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Open implements part.Opener.
func (p *Part) Open(_ context.Context, _ part.Input) error {
	opts := stacks.Options{
		Names: names(), Dir: p.dir(), Runner: p.host.Runner(), Registry: registry.New(nil), Logger: p.host.Logger(name), OnChange: p.host.Changed,
		OnReconcile: func(took time.Duration, err error) { p.host.Reconciled(name, took, err) },
		Now:         func() time.Time { return p.host.Running().Config.Site.Local(time.Now()) },
	}
	// As Docker's own programs are told where the daemon is.
	if path, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		opts.Socket = path
	} else if r := p.host.Runner(); r != nil { // it is the one of Docker's package
		opts.RestartDocker = func(ctx context.Context) error { return r.Restart(ctx, dockerd) }
	}
	s, err := stacks.New(stacks.Config{}, opts)
	if err != nil {
		return fmt.Errorf("stacks: %w", err)
	}
	p.stacks = s
	return nil
}

// dockerd is Docker's daemon.
var dockerd = runner.Service{Unit: "docker.service", Argv: []string{"service", "docker", "restart"}, Process: "dockerd", PIDFile: "/run/docker.pid"}

// names are the stacks that there can be, in the order in which they get what is short.
func names() []string { return []string{jitsi.Name, nextcloud.Name} }

func (p *Part) dir() string { return p.host.Paths().InState(dirName) }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[stacks.Config]{Name: name, Desired: p.desired, Build: p.build})}
}

// desired is what the stacks should be. Those that were on and are off now are taken
// down, so the unit runs without any, too.
func (p *Part) desired(_ context.Context, in part.Input) (stacks.Config, bool, error) {
	if p.host.Runner() == nil {
		return stacks.Config{}, false, nil
	}
	var certificate, key string
	if s := in.Config.Stacks; s.Jitsi.Enabled || s.Nextcloud.Enabled {
		var err error
		if certificate, key, err = p.deps.Certificate(); err != nil {
			return stacks.Config{}, false, fmt.Errorf("the stacks' pages have no certificate: %w", err)
		}
	}
	return Desired(in.Config, in.Secrets, p.deps.Names(), []byte(certificate), []byte(key)), true, nil
}

func (p *Part) build(_ context.Context, c stacks.Config) (part.Run[stacks.Config], error) {
	p.stacks.Apply(c)
	return part.Run[stacks.Config]{
		Run:        p.stacks.Run,
		Apply:      func(_ context.Context, c stacks.Config) error { p.stacks.Apply(c); return nil },
		Collectors: []prometheus.Collector{p.stacks},
	}, nil
}

// AddUser makes an account in Nextcloud.
func (p *Part) AddUser(ctx context.Context, u kind.User) error {
	return p.stacks.AddUser(ctx, nextcloud.Name, u)
}

// RemoveUser removes one.
func (p *Part) RemoveUser(ctx context.Context, name string) error {
	return p.stacks.RemoveUser(ctx, nextcloud.Name, name)
}

// Features implements part.Featurer.
func (p *Part) Features(c *config.Config) map[string]bool {
	return map[string]bool{"jitsi": c.Stacks.Jitsi.Enabled, "nextcloud": c.Stacks.Nextcloud.Enabled}
}

// holdPrefix, and a stack's name, is what a stack is called in a backup.
const holdPrefix = "stack/"

// Trees implements part.Keeper.
func (p *Part) Trees(paths part.Paths, hold part.HoldFunc) []backup.Tree {
	dir := paths.InState(dirName)
	trees := []backup.Tree{{Name: "stack-notes", Path: dir, Skip: append(notInBackup(), names()...)}}
	for _, k := range names() {
		trees = append(trees, backup.Tree{Name: holdPrefix + k, Path: filepath.Join(dir, k), Numeric: true, Foreign: true, Hold: hold.Of(holdPrefix + k)})
	}
	return trees
}

// notInBackup is what of the stacks' notes makes sense on this machine alone: copies
// from before updates, and an update that is under way.
func notInBackup() []string {
	out := []string{"backups"}
	for _, name := range names() {
		out = append(out, "update-"+name+".json")
	}
	return out
}

// Hold implements part.Holder.
func (p *Part) Hold(ctx context.Context, what string) (h control.Held, release func(), ok bool, err error) {
	stack, ok := strings.CutPrefix(what, holdPrefix)
	if !ok {
		return h, nil, false, nil
	}
	release, err = p.stacks.Hold(ctx, stack)
	return control.Held{Path: filepath.Join(p.dir(), stack)}, release, true, stackError(err)
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.Stacks = p.status()
	return problems(st.Stacks, p.stacks.History(), time.Now())
}

func (p *Part) status() []control.Stack {
	out := []control.Stack{}
	for _, s := range p.stacks.Status() {
		c := control.Stack{
			Name: s.Name, State: string(s.State), Since: s.Since, URL: s.URL, NextTry: s.NextTry, Repairs: s.Repairs,
			Available: s.Available,
		}
		for _, n := range s.Notes {
			c.Notes = append(c.Notes, control.StackNote(n))
		}
		if f := s.Pull; f != nil {
			c.Pull = control.StackPull{Image: f.Image, Number: f.Number, Of: f.Of, Done: f.Done, Total: f.Total, Left: int64(f.Left(time.Now()).Seconds())}
		}
		if wrong := s.Problem; wrong != nil {
			c.Cause, c.Problem, c.Fix = string(wrong.Code), wrong.What, wrong.Fix
		}
		for _, v := range s.Services {
			c.Services = append(c.Services, control.StackService{Name: v.Name, Image: v.Image.Ref(), Up: v.Up, Status: v.Status})
		}
		if s.Name == jitsi.Name && s.State == stacks.Healthy {
			c.Gateway = p.gatewayState()
		}
		out = append(out, c)
	}
	return out
}

// Words for how Jitsi's SIP gateway is at the exchange.
const (
	gatewayRegistered = "registered"
	gatewayMissing    = "not registered"
)

// gatewayState says whether the exchange knows Jitsi's SIP gateway; empty: it is not
// known.
func (p *Part) gatewayState() string {
	registered, known := p.deps.Registered(p.host.Running().Config.Stacks.Jitsi.SIPExtension)
	switch {
	case !known:
		return ""
	case registered:
		return gatewayRegistered
	}
	return gatewayMissing
}

// gatewayTime is how long the gateway may take to register once it is up.
const gatewayTime = 2 * time.Minute

// problems judges the stacks and the last update of each.
func problems(list []control.Stack, history []stacks.Record, now time.Time) (out []problem.Problem) {
	for _, s := range list {
		if s.Problem != "" {
			out = append(out, problem.Problem{ID: problem.StackTrouble, Severity: problem.Error, Part: name, Subject: s.Name, What: s.Name + ": " + s.Problem, Fix: s.Fix})
		}
		if s.Gateway == gatewayMissing && now.Sub(s.Since) > gatewayTime {
			out = append(out, problem.Problem{
				ID: problem.GatewayMissing, Severity: problem.Warning, Part: name, Subject: s.Name, What: "jitsi: its SIP gateway is not registered at the exchange: no phone gets into a meeting",
				Fix: "'sae-agent stacks logs jitsi jigasi' shows what it says",
			})
		}
		for _, n := range s.Notes {
			out = append(out, problem.Problem{ID: problem.StackNote, Severity: problem.Warning, Part: name, Subject: s.Name, What: s.Name + ": " + n.What, Fix: n.Fix})
		}
	}
	last := make(map[string]stacks.Record)
	for _, r := range history {
		last[r.Stack] = r
	}
	for _, s := range list {
		if r := last[s.Name]; s.State != string(stacks.Off) && (r.Outcome == stacks.RolledBack || r.Outcome == stacks.Broken) {
			out = append(out, problem.Problem{
				ID: problem.StackUpdateFailed, Severity: problem.Warning, Part: name, Subject: s.Name, What: fmt.Sprintf("%s: the last update was %s: %s", s.Name, r.Outcome, r.Detail),
				Fix: "'sae-agent stacks history' says which; it is not tried again by itself, 'sae-agent stacks update' does",
			})
		}
	}
	return out
}
