// Package agent is the host of the appliance's parts: it keeps the configuration
// that runs and its history, has each part follow it, and answers the operator.
//
// It knows parts only as part.Part. Which there are, and what they know of each
// other, is in wiring.go.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/metrics"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/scrape"
	"github.com/sae-agent/sae-agent/agent/secrets"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/internal/loglimit"
)

// reconcileEvery finds what no event tells: a time server that was started, summer time.
const reconcileEvery = time.Minute

// readyTime is how long the start waits for the parts before it counts as done.
const readyTime = 10 * time.Second

// Options say where the agent finds and keeps things.
type Options struct {
	// Paths are made when absent: State 0700, Runtime 0755, which holds the control socket.
	part.Paths
	Version string
	// VerifyLeases runs leasedb.VerifyMain on a file in a process of its own.
	VerifyLeases func(ctx context.Context, path string) *exec.Cmd
	Logger       *slog.Logger
	// Journal says that Logger writes to the system's journal.
	Journal bool
	// Runner undoes a change that nobody confirms, and runs what needs more rights than
	// the daemon has. Nil: neither can be done.
	Runner part.Runner
	// RollbackCommand is the command that does it, as long as a configuration waits
	// for its confirmation.
	RollbackCommand func(pending int) []string
	// BackupCommand makes a backup. Empty: none is made of the daemon's own accord.
	BackupCommand []string
	// Sessions lists who works on this machine over the network: the caller, a process
	// (0: none), and whoever else is known to be logged in. Nil: nobody is kept from
	// locking them out.
	Sessions func(caller int) ([]part.Session, error)
	// OnReady is called when every part was started, or has had the time. Nil: nothing is.
	OnReady func()
}

// remembered is how many events the daemon remembers at most: a boot of a thousand
// phones, several times over, in a few megabytes.
const remembered = 20000

// Agent runs the appliance.
type Agent struct {
	opts     Options
	log      *slog.Logger
	logLimit *loglimit.Handler // before log: packets from outside do not fill it
	started  time.Time
	registry *prometheus.Registry
	history  *history.History
	secrets  *secrets.Store

	parts      []part.Part
	dispatcher *control.Dispatcher
	supervisor *supervisor.Supervisor
	reconciles *metrics.Reconciles
	events     *events.Log // what log was told
	problems   problem.Tracker
	ping       chan chan struct{} // answered by the main loop

	current atomic.Pointer[applied] // what runs
	cached  atomic.Pointer[metrics.Cached]

	changes sync.Mutex // held while another configuration becomes the one that runs
}

// applied is a configuration that runs, or is about to.
type applied struct {
	part.Input
	data  []byte
	hash  string // of data
	entry history.Entry
	// refused is what this version would refuse in a new configuration.
	refused []config.Diagnostic
}

// New opens the state and reads the configuration to run: the one applied last,
// or the operator's file when none was.
func New(ctx context.Context, opts Options) (*Agent, error) {
	log := events.NewLog(remembered)
	limited := loglimit.NewHandler(log.Handler(opts.Logger.Handler()), loglimit.Defaults())
	a := &Agent{
		opts:       opts,
		log:        slog.New(limited),
		logLimit:   limited,
		started:    time.Now(),
		registry:   prometheus.NewRegistry(),
		reconciles: metrics.NewReconciles(),
		events:     log,
		ping:       make(chan chan struct{}),
	}
	if err := a.openState(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a.parts = newParts(host{a}, a)
	a.dispatcher = a.newDispatcher()
	if err := a.firstConfig(); err != nil {
		return nil, err
	}
	for _, p := range a.parts {
		if o, ok := p.(part.Opener); ok {
			if err := o.Open(ctx, a.Running()); err != nil {
				return nil, fmt.Errorf("agent: %w", err)
			}
		}
	}
	a.supervisor = supervisor.New(append(unitsOf(a.parts), a.controlUnit()), supervisor.Options{
		Input: a.Running, Register: a.register, Logger: a.log,
		Reconciled: func(_ string, took time.Duration, err error) { a.reconciles.Note("agent", took, err) },
	})
	a.registerOwn()
	return a, nil
}

func (a *Agent) openState() error {
	if err := os.MkdirAll(a.opts.State, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.MkdirAll(a.opts.Runtime, 0o755); err != nil {
		return fmt.Errorf("runtime folder: %w", err)
	}
	if NewBackups(a.opts.Paths).Unfinished() {
		return errors.New("a restore was interrupted: finish it with 'sae-agent backup restore --continue'")
	}
	err := format.Mark(a.opts.State, a.opts.Version)
	if err != nil {
		return err
	}
	if a.history, err = history.Open(a.opts.InState(historyDir), a.opts.Runtime); err != nil {
		return err
	}
	a.secrets, err = secrets.Open(a.opts.InState("secrets.json"))
	return err
}

// historyDir is the folder of the configurations in the state folder.
const historyDir = "configs"

func unitsOf(parts []part.Part) (units []part.Unit) {
	for _, p := range parts {
		units = append(units, p.Units()...)
	}
	return units
}

// controlUnit answers the operator's commands.
func (a *Agent) controlUnit() part.Unit {
	return part.NewUnit(part.Spec[struct{}]{
		Name:    "control",
		Desired: func(context.Context, part.Input) (struct{}, bool, error) { return struct{}{}, true, nil },
		Build: func(context.Context, struct{}) (part.Run[struct{}], error) {
			return part.Run[struct{}]{Run: control.NewServer(a.opts.Runtime, a.dispatcher).Run}, nil
		},
	})
}

// registerOwn has the metrics served that do not come and go with a unit.
func (a *Agent) registerOwn() {
	a.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		scrape.New("agent", metrics.Collector(a.snapshot), a.reconciles),
	)
	for _, p := range a.parts {
		if m, ok := p.(part.Measured); ok {
			a.registry.MustRegister(scrape.New(p.Name(), m.Collectors()...))
		}
	}
}

// snapshot is what the agent's own metrics are made of.
func (a *Agent) snapshot() metrics.Snapshot {
	c := a.Running().Config
	s := metrics.Snapshot{
		Version: a.opts.Version, Site: c.Site.Name, Started: a.started, Parts: a.supervisor.Status(),
		Features: make(map[string]bool), Cached: a.cached.Load(),
	}
	for _, p := range a.parts {
		if f, ok := p.(part.Featurer); ok {
			maps.Copy(s.Features, f.Features(c))
		}
	}
	return s
}

// register has a unit's metrics served while it runs.
func (a *Agent) register(name string, c []prometheus.Collector) (unregister func(), err error) {
	guarded := scrape.New(name, c...)
	if err := a.registry.Register(guarded); err != nil {
		return nil, err
	}
	return func() { a.registry.Unregister(guarded) }, nil
}

// Run runs the appliance until ctx ends. Addresses, routes and forwarding stay
// as they are then.
func (a *Agent) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { a.supervisor.Run(ctx) })
	running.Go(func() { a.logLimit.Run(ctx) })
	running.Go(func() { a.cacheStatus(ctx) })
	running.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, readyTime)
		defer cancel()
		_ = a.supervisor.WaitEvaluated(bounded) // a part that takes longer is started all the same
		if a.opts.OnReady != nil && ctx.Err() == nil {
			a.opts.OnReady()
		}
	})
	a.log.Info("sae-agent runs", "version", a.opts.Version, "site", a.Running().Config.Site.Name)
	a.loop(ctx)
	running.Wait()
	return nil
}

// loop has every unit look now and then, until ctx ends.
func (a *Agent) loop(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-a.ping:
			close(answer)
		case <-tick.C:
			a.supervisor.Wake()
		}
	}
}

// Silent returns the loops that have not answered before ctx ended: the main loop,
// and those of the units that have one.
func (a *Agent) Silent(ctx context.Context) []string {
	answer := make(chan struct{})
	select {
	case a.ping <- answer:
	case <-ctx.Done():
		return []string{"agent"}
	}
	return a.supervisor.Alive(ctx)
}

// Running returns what runs. It never waits.
func (a *Agent) Running() part.Input { return a.current.Load().Input }

// host is what the parts have from the agent.
type host struct{ *Agent }

// Logger implements part.Host.
func (h host) Logger(name string) *slog.Logger { return h.log.With(events.KeyPart, name) }

// Paths implements part.Host.
func (h host) Paths() part.Paths { return h.opts.Paths }

// Changed implements part.Host.
func (h host) Changed() {
	if s := h.supervisor; s != nil {
		s.Wake()
	}
}

// Settle implements part.Host.
func (h host) Settle(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := h.supervisor.WaitEvaluated(ctx); err != nil {
		return fmt.Errorf("%s does not answer: %w", unit, err)
	}
	for _, b := range h.supervisor.Tried(ctx, h.Agent.Running().Generation) {
		if b.Name == unit {
			return errors.New(b.Behind)
		}
	}
	return nil
}

// Reconciled implements part.Host.
func (h host) Reconciled(name string, took time.Duration, err error) {
	h.reconciles.Note(name, took, err)
}

// Runner implements part.Host.
func (h host) Runner() part.Runner { return h.opts.Runner }
