package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/jitsi"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/nextcloud"
	"github.com/sae-agent/sae-agent/agent/stacks/registry"
	"github.com/sae-agent/sae-agent/agent/stacks/versions"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// Names of the stacks' generated passwords.
const (
	jicofoSecret      = "stacks/jitsi/jicofo"
	jvbSecret         = "stacks/jitsi/jvb"
	jigasiSecret      = "stacks/jitsi/jigasi"
	cloudAdminSecret  = "stacks/nextcloud/admin"
	cloudDBSecret     = "stacks/nextcloud/database"
	cloudDBRootSecret = "stacks/nextcloud/database-root"
)

func cloudUserSecret(number string) string { return "stacks/nextcloud/user/" + number }

// stackSecrets are the names of the passwords that the stacks need.
func stackSecrets(c *config.Config) (names []string) {
	if j := c.Stacks.Jitsi; j.Enabled {
		names = append(names, jicofoSecret, jvbSecret, jigasiSecret, extensionSecret(j.SIPExtension))
	}
	n := c.Stacks.Nextcloud
	if !n.Enabled {
		return names
	}
	names = append(names, cloudAdminSecret, cloudDBSecret, cloudDBRootSecret)
	if n.Users {
		for _, e := range c.Extensions {
			names = append(names, cloudUserSecret(e.Number))
		}
	}
	return names
}

// desiredStacks is what the stacks should be. The pages' certificate and key are in
// PEM, names are those that the pages may be asked for by.
func desiredStacks(c *config.Config, secrets map[string]string, names []string, certificate, key []byte) stacks.Config {
	u := c.Stacks.Update
	out := stacks.Config{
		Site:     kind.Site{Addr: c.LAN.Address.Addr(), Names: names, Timezone: c.Site.Timezone, Certificate: certificate, Key: key},
		Registry: c.Stacks.Registry,
		Update:   stacks.UpdateConfig{Policy: stacks.Policy(u.Policy), Off: u.Window.Off, Start: int(u.Window.Start), End: int(u.Window.End)},
	}
	if j := c.Stacks.Jitsi; j.Enabled {
		out.Kinds = append(out.Kinds, jitsi.Config{
			HTTPSPort: j.HTTPSPort, MediaPort: j.MediaPort, GatewayFirst: j.GatewayPorts.First, GatewayLast: j.GatewayPorts.Last,
			Gateway:   desiredMeetings(c),
			SIPServer: c.PBX.Address.String(), SIPPort: c.SIPPort(), SIPTransport: "udp",
			SIPSecret:    cmp.Or(extensionOf(c, j.SIPExtension).Secret.Reveal(), secrets[extensionSecret(j.SIPExtension)]),
			JicofoSecret: secrets[jicofoSecret], JVBSecret: secrets[jvbSecret], JigasiSecret: secrets[jigasiSecret],
		})
	}
	if n := c.Stacks.Nextcloud; n.Enabled {
		cloud := nextcloud.Config{
			HTTPSPort: n.HTTPSPort, AdminSecret: secrets[cloudAdminSecret], DBSecret: secrets[cloudDBSecret], DBRootSecret: secrets[cloudDBRootSecret],
		}
		if n.Users {
			for _, e := range c.Extensions {
				cloud.Users = append(cloud.Users, kind.User{Name: e.Number, DisplayName: e.Name, Password: secrets[cloudUserSecret(e.Number)]})
			}
		}
		out.Kinds = append(out.Kinds, cloud)
	}
	return out
}

// desiredMeetings is what exchange and SIP gateway agree on.
func desiredMeetings(c *config.Config) jitsi.Gateway {
	j := c.Stacks.Jitsi
	return jitsi.Gateway{Extension: j.SIPExtension, AccessNumber: j.AccessNumber, Room: j.Room, Header: jitsi.RoomHeader}
}

func extensionOf(c *config.Config, number string) config.Extension {
	for _, e := range c.Extensions {
		if e.Number == number {
			return e
		}
	}
	return config.Extension{}
}

// stackNames are the stacks that there can be, in the order in which they get what
// is short.
func stackNames() []string { return []string{jitsi.Name, nextcloud.Name} }

// openStacks opens what is noted of the stacks.
func (a *Agent) openStacks() error {
	opts := stacks.Options{
		Names: stackNames(), Dir: a.state(stacksDir), Runner: a.opts.Runner, Registry: registry.New(nil), Logger: a.log.With("part", "stacks"), OnChange: a.wake,
		OnReconcile: func(took time.Duration, err error) { a.reconciled("stacks", took, err) },
		Now:         func() time.Time { return siteTime(a.running.Load(), time.Now()) },
	}
	// As Docker's own programs are told where the daemon is.
	if path, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		opts.Socket = path
	}
	s, err := stacks.New(stacks.Config{}, opts)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.stacks = s
	return nil
}

// wantStacks makes the stacks as the configuration says. Those that were on and are
// off now are taken down. The caller holds a.mu.
func (a *Agent) wantStacks(c *config.Config, secrets map[string]string) {
	if a.opts.Runner == nil {
		return
	}
	var certificate, key string
	if c.Stacks.Jitsi.Enabled || c.Stacks.Nextcloud.Enabled {
		var err error
		if certificate, key, err = a.certificatePEM(c.LAN.Address.Addr()); err != nil {
			a.log.Error("the stacks' pages have no certificate", "err", err)
			return
		}
	}
	a.units.stacks.want(a.parts, desiredStacks(c, secrets, ownNames(c), []byte(certificate), []byte(key)))
}

func (a *Agent) buildStacks(_ context.Context, c stacks.Config) (supervisor.Part, error) {
	a.stacks.Apply(c)
	return a.measure(a.stacks.Run, a.stacks), nil
}

func (a *Agent) changeStacks(c stacks.Config) bool {
	a.stacks.Apply(c)
	return true
}

// holdStack has a stack stand still for a backup.
func (a *Agent) holdStack(ctx context.Context, name string) (control.Held, func(), error) {
	release, err := a.stacks.Hold(ctx, name)
	return control.Held{Path: filepath.Join(a.state(stacksDir), name)}, release, stackError(err)
}

// Stacks answers control.ListStacks.
func (a *Agent) Stacks(context.Context) ([]control.Stack, error) { return a.stackStatus(), nil }

func (a *Agent) stackStatus() []control.Stack {
	out := []control.Stack{}
	for _, s := range a.stacks.Status() {
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
		if p := s.Problem; p != nil {
			c.Cause, c.Problem, c.Fix = string(p.Code), p.What, p.Fix
		}
		for _, v := range s.Services {
			c.Services = append(c.Services, control.StackService{Name: v.Name, Image: v.Image.Ref(), Up: v.Up, Status: v.Status})
		}
		if s.Name == jitsi.Name && s.State == stacks.Healthy {
			c.Gateway = a.gatewayState()
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
func (a *Agent) gatewayState() string {
	st, ok := a.exchangeState()
	switch {
	case !ok || st.Looked.IsZero():
		return ""
	case a.gatewayRegistered():
		return gatewayRegistered
	}
	return gatewayMissing
}

func (a *Agent) gatewayRegistered() bool {
	st, ok := a.exchangeState()
	return ok && st.Lines[a.running.Load().Stacks.Jitsi.SIPExtension].Registered()
}

// gatewayTime is how long the gateway may take to register once it is up.
const gatewayTime = 2 * time.Minute

// stackProblems judges the stacks and the last update of each.
func stackProblems(list []control.Stack, history []stacks.Record, now time.Time) (out []problem.Problem) {
	for _, s := range list {
		if s.Problem != "" {
			out = append(out, problem.Problem{Severity: problem.Error, Part: "stacks", What: s.Name + ": " + s.Problem, Fix: s.Fix})
		}
		if s.Gateway == gatewayMissing && now.Sub(s.Since) > gatewayTime {
			out = append(out, problem.Problem{
				Severity: problem.Warning, Part: "stacks", What: "jitsi: its SIP gateway is not registered at the exchange: no phone gets into a meeting",
				Fix: "'sae-agent stacks logs jitsi jigasi' shows what it says",
			})
		}
		for _, n := range s.Notes {
			out = append(out, problem.Problem{Severity: problem.Warning, Part: "stacks", What: s.Name + ": " + n.What, Fix: n.Fix})
		}
	}
	last := make(map[string]stacks.Record)
	for _, r := range history {
		last[r.Stack] = r
	}
	for _, s := range list {
		if r := last[s.Name]; s.State != string(stacks.Off) && (r.Outcome == stacks.RolledBack || r.Outcome == stacks.Broken) {
			out = append(out, problem.Problem{
				Severity: problem.Warning, Part: "stacks", What: fmt.Sprintf("%s: the last update was %s: %s", s.Name, r.Outcome, r.Detail),
				Fix: "'sae-agent stacks history' says which; it is not tried again by itself, 'sae-agent stacks update' does",
			})
		}
	}
	return out
}

// StackUp answers control.StartStack.
func (a *Agent) StackUp(ctx context.Context, name string, o control.StackUpOptions) error {
	return stackError(a.stacks.Up(ctx, name, o.Images...))
}

// StackDown answers control.StopStack.
func (a *Agent) StackDown(ctx context.Context, name string) error {
	return stackError(a.stacks.Down(ctx, name))
}

// StackUpdate answers control.UpdateStack.
func (a *Agent) StackUpdate(ctx context.Context, name string, o control.StackUpdateOptions) (control.StackUpdate, error) {
	step := versions.Minor
	if o.Major {
		step = versions.Major
	}
	r, err := a.stacks.Update(ctx, name, step)
	return controlUpdate(r), stackError(err)
}

// StackHistory answers control.ListStackUpdates.
func (a *Agent) StackHistory(context.Context) ([]control.StackUpdate, error) {
	out := []control.StackUpdate{}
	for _, r := range a.stacks.History() {
		out = append(out, controlUpdate(r))
	}
	return out, nil
}

func controlUpdate(r stacks.Record) control.StackUpdate {
	return control.StackUpdate{Time: r.Time, Stack: r.Stack, Outcome: string(r.Outcome), From: r.From, To: r.To, Detail: r.Detail, Backup: r.Backup}
}

// StackLogins answers control.ShowStackLogins.
func (a *Agent) StackLogins(_ context.Context, name string, o control.StackLoginOptions) (control.StackLogins, error) {
	logins, err := a.stacks.FirstLogins(name, o.Again)
	var out control.StackLogins
	for _, s := range a.stacks.Status() {
		if s.Name == name {
			out.URL = s.URL
		}
	}
	if errors.Is(err, stacks.ErrShown) {
		out.Shown = err.Error()
		return out, nil
	}
	for _, l := range logins {
		out.Logins = append(out.Logins, control.StackLogin(l))
	}
	return out, stackError(err)
}

// StackLogs answers control.ReadStackLogs.
func (a *Agent) StackLogs(ctx context.Context, w io.Writer, name string, o control.StackLogOptions) error {
	return stackError(a.stacks.Logs(ctx, w, name, o.Service, o.Lines, o.Follow))
}

// stackError makes an error of the stacks one that the operator is told.
func stackError(err error) error {
	for _, known := range []struct {
		err  error
		code int
	}{
		{stacks.ErrUnknown, http.StatusNotFound}, {stacks.ErrDisabled, http.StatusConflict}, {stacks.ErrBusy, http.StatusConflict}, {stacks.ErrNoLogin, http.StatusConflict},
		{stacks.ErrNotRunning, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			return &control.Error{Code: known.code, Message: err.Error()}
		}
	}
	var p *stacks.Problem
	if errors.As(err, &p) {
		return &control.Error{Code: http.StatusConflict, Message: p.Error()}
	}
	return err
}
