// Package part says what a part of the appliance is, so that the host (package
// agent) can run parts that it knows nothing of.
//
// A Part is a definition: it exists, and is asked, also while nothing of it runs.
// What runs are its Units, each of them by itself. Everything else that a part
// can do is a small interface that it may implement.
package part

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// Part is a part of the appliance. Its methods MUST NOT wait for anything.
type Part interface {
	// Name is the part's name in status, logs and metrics.
	Name() string
	// Units returns the part's runs, always the same ones.
	Units() []Unit
}

// Input is what a part's desired state is derived from. It is a snapshot: whoever
// has it MUST NOT change what it points to.
type Input struct {
	// Generation counts the configurations that the host was given since it started.
	Generation uint64
	Config     *config.Config
	// Secrets are the generated passwords by name, see SecretNamer.
	Secrets map[string]string
	// Pending says that the configuration waits for its confirmation.
	Pending bool
}

// Paths say where the agent finds and keeps things.
type Paths struct {
	Config     string // the operator's file; only Host.Edit writes it
	State      string // folder
	Runtime    string // folder
	ResolvConf string // gets the WAN's resolvers; empty: no file does
}

// InState returns the path of a file of ours in the state folder.
func (p Paths) InState(name string) string { return filepath.Join(p.State, name) }

// Host is what a part has from the host that runs it.
type Host interface {
	// Logger returns the logger of a part.
	Logger(part string) *slog.Logger
	Paths() Paths
	// Running returns the input in force. It never waits.
	Running() Input
	// Changed has every unit look again soon. It never waits.
	Changed()
	// Settle has every unit look now, and returns when one of them is as it should be,
	// or why it is not.
	Settle(ctx context.Context, unit string) error
	// Edit has change edit the operator's file, checks the result, writes it and runs it,
	// as 'sae-agent apply' does. It refuses while the file holds edits that nobody
	// applied, or a configuration waits for its confirmation.
	Edit(ctx context.Context, o control.EditOptions, change func(*edit.File) error) (control.Plan, error)
	// Renew makes new passwords in the place of generated ones, by name, all or none, runs
	// the configuration with them and returns which parts have not followed. It refuses while
	// a configuration waits for its confirmation.
	Renew(ctx context.Context, names ...string) ([]control.Behind, error)
	// Reconciled notes that something was compared with what it should be, and
	// changed where needed.
	Reconciled(name string, took time.Duration, err error)
	// Runner runs commands outside of the daemon; nil where there is none.
	Runner() Runner
}

// Runner runs commands outside of the daemon: those that must run even if it has
// died, and those that need more rights.
type Runner interface {
	// Run runs a command to its end.
	Run(ctx context.Context, c runner.Command) (runner.Result, error)
	// After runs a command once d has passed. It MUST refuse a second one with the
	// same name.
	After(ctx context.Context, name string, d time.Duration, argv []string) error
	// Cancel takes back what After arranged. Nothing to take back is no error.
	Cancel(ctx context.Context, name string) error
	// Restart restarts a service, or starts it.
	Restart(ctx context.Context, s runner.Service) error
}

// Opener is a part with state that outlives its units.
type Opener interface {
	// Open reads the state, once, before anything runs.
	Open(ctx context.Context, in Input) error
}

// Reporter is a part that says how it is.
type Reporter interface {
	// Report fills in what status says of the part, and returns what is wrong with
	// it. It MUST answer from memory.
	Report(st *control.Status) []problem.Problem
}

// Planner is a part that can say what a configuration would change of the machine.
type Planner interface {
	// Plan adds to the plan what next would change. It changes nothing.
	Plan(ctx context.Context, next Input, plan *control.Plan)
}

// Checker is a part that can tell that a configuration cannot be run here, beyond
// what the file itself says.
type Checker interface {
	// Check is asked before a configuration is applied.
	Check(ctx context.Context, next Input) error
}

// Session is how somebody works on this machine over the network.
type Session struct {
	Peer  netip.Addr     // who is at the other end
	Local netip.AddrPort // the address and port that it came to
	Link  string         // the card that leads to the peer; empty: not known
	// Gateway is the router on the way to the peer; zero: there is none.
	Gateway netip.Addr
}

// Gatekeeper is a part that can lock out those who work over the network.
type Gatekeeper interface {
	// LocksOut says by what a session would be lost, or not opened again, if next ran in
	// place of what runs, with what would keep it. It changes nothing.
	LocksOut(ctx context.Context, next Input, s Session) []string
}

// SecretNamer is a part that needs generated passwords.
type SecretNamer interface {
	// SecretNames names those that a configuration leaves out.
	SecretNames(c *config.Config) []string
}

// Operator is a part that answers operations.
type Operator interface {
	// Operations returns their handlers, always the same ones. While what they need
	// does not run, they answer so.
	Operations() []control.Handler
}

// Auditor is a part that remembers who has changed what.
type Auditor interface {
	// Ordered is told each order that was given, carried out or not.
	Ordered(o control.Order)
}

// Keeper is a part with files that belong into a backup.
type Keeper interface {
	// Trees lists them. hold has what the daemon uses stand still; nil when giving
	// back.
	Trees(p Paths, hold HoldFunc) []backup.Tree
}

// HoldFunc has something that the daemon uses stand still until release is called,
// and returns where it can be read.
type HoldFunc func(ctx context.Context, what string) (path string, release func(), err error)

// Of returns what has one thing stand still, as a backup.Tree wants it.
func (h HoldFunc) Of(what string) func(context.Context) (string, func(), error) {
	return func(ctx context.Context) (string, func(), error) { return h(ctx, what) }
}

// Holder is a part that can stand still for a backup.
type Holder interface {
	// Hold has what is called so stand still until release is called. ok is false
	// when nothing of this part is.
	Hold(ctx context.Context, what string) (h control.Held, release func(), ok bool, err error)
}

// Featurer is a part that can be switched on and off.
type Featurer interface {
	// Features says what a configuration switches on, by the name in sae_feature_enabled.
	Features(c *config.Config) map[string]bool
}

// Measured is a part with metrics that are served also while nothing of it runs.
type Measured interface {
	Collectors() []prometheus.Collector
}

// OfflineApplier is a part that can follow a configuration without the daemon.
type OfflineApplier interface {
	ApplyOffline(ctx context.Context, in Input) error
}

// Booter is a part that does something at boot, before the network comes up.
type Booter interface {
	Boot(ctx context.Context) error
}
