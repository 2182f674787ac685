// Package agent is the appliance: it builds every part from the configuration,
// runs the parts, keeps them as the configuration says and answers the operator.
//
// It is the only place where parts meet. A part that needs a fact from another
// is given a func here. What a part should be is derived by pure functions
// (desired.go); events only trigger a new look.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/folder"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/scrape"
	"github.com/sae-agent/sae-agent/agent/secrets"
	"github.com/sae-agent/sae-agent/agent/services"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/supervisor"
	"github.com/sae-agent/sae-agent/agent/verify"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
	"github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
	"github.com/sae-agent/sae-agent/internal/loglimit"
	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/netcfg/qos"
)

// lookEvery finds what no event tells: a time server that was started, summer time.
const lookEvery = time.Minute

// Options say where the agent finds and keeps things.
type Options struct {
	ConfigPath string // the operator's file; never written
	StateDir   string // made 0700 when absent
	RuntimeDir string // made 0755 when absent; holds the control socket
	ResolvConf string // gets the WAN's resolvers; empty: no file does
	Version    string
	// VerifyLeases runs leasedb.VerifyMain on a file in a process of its own.
	VerifyLeases func(ctx context.Context, path string) *exec.Cmd
	Logger       *slog.Logger
	// Journal says that Logger writes to the system's journal.
	Journal bool
	// Runner undoes a change that nobody confirms, and runs what needs more rights than
	// the daemon has. Nil: neither can be done.
	Runner Runner
	// RollbackCommand is the command that does it, as long as a configuration waits
	// for its confirmation.
	RollbackCommand func(pending int) []string
	// BackupCommand makes a backup. Empty: none is made of the daemon's own accord.
	BackupCommand []string
	// OnReady is told when every part has been started. Nil: nobody is told.
	OnReady func()
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
	// Restart starts a service anew, whether it runs or not.
	Restart(ctx context.Context, s runner.Service) error
}

// Agent runs the appliance.
type Agent struct {
	opts     Options
	log      *slog.Logger
	logLimit *loglimit.Handler // before log: packets from outside do not fill it
	started  time.Time
	registry *prometheus.Registry
	history  *history.History
	secrets  *secrets.Store
	phones   *phones.Service
	services *services.Watcher
	stacks   *stacks.Service
	events   chan dhcpd.Event // from the DHCP server, which must not wait
	look     chan struct{}    // holds one token when a new look is due

	// The parts that answer questions now; nil while one is being started.
	dhcp      atomic.Pointer[dhcpd.Server]
	net       atomic.Pointer[netcfg.Manager]
	leases    atomic.Pointer[leasedb.DB]
	qos       atomic.Pointer[qos.Shaper]
	backups   atomic.Pointer[control.BackupOutcome] // of the last one; nil: none yet
	firewall  atomic.Pointer[firewall.Manager]
	fail2ban  atomic.Pointer[fail2ban.Manager]
	defence   *defence                       // against those that the exchange refuses
	rivals    atomic.Pointer[firewallRivals] // other firewalls; nil before they were looked for
	rivalsDue atomic.Bool                    // they are to be looked for at the next look
	// banRemovers lift bans that other programs note, see liftElsewhere.
	banRemovers []func(ctx context.Context, addr netip.Addr) error
	freePBX     atomic.Pointer[freePBXState] // what its administrator must do; nil while it is not known
	pbx         atomic.Pointer[runningExchange]
	resyncs     *resyncs
	// running is the configuration that runs, current the same with where it is from,
	// for those who must not wait for mu.
	running atomic.Pointer[config.Config]
	current atomic.Pointer[applied]
	glance  atomic.Pointer[glance] // nil before the first

	reconciles *reconciles
	story      *events.Log // what log was told

	verifying sync.Mutex // held while the checks of verify are made
	verified  verify.Last

	folder folder.Folder // of the operator's files for phones

	parts *supervisor.Supervisor // set once, by Run, before anybody can ask

	mu      sync.Mutex // guards the following; held for a whole apply or look
	units   *units
	applied applied
	// testAccounts are in the exchange while verify needs them.
	testAccounts []pbx.Extension
	// rivalsSeen is when other firewalls were looked for.
	rivalsSeen time.Time
}

// applied is a configuration that runs, or is about to.
type applied struct {
	cfg      *config.Config
	data     []byte
	secrets  map[string]string // those that the file leaves out, by name
	entry    history.Entry
	warnings []config.Diagnostic
}

// New opens the state and reads the configuration to run: the one applied last,
// or the operator's file when none was.
func New(ctx context.Context, opts Options) (*Agent, error) {
	story := events.NewLog(remembered)
	limited := loglimit.NewHandler(story.Handler(opts.Logger.Handler()), loglimit.Defaults())
	a := &Agent{
		opts:     opts,
		log:      slog.New(limited),
		logLimit: limited,
		started:  time.Now(),
		registry: prometheus.NewRegistry(),
		events:   make(chan dhcpd.Event, 4096),
		look:     make(chan struct{}, 1),

		reconciles: newReconciles(),
		resyncs:    newResyncs(),
		story:      story,
	}
	a.services = a.newServices()
	a.units, a.defence = newUnits(a), newDefence()
	a.banRemovers = append(a.banRemovers, a.liftInFail2ban)
	if err := a.openState(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if err := a.firstConfig(); err != nil {
		return nil, err
	}
	if err := a.openStacks(); err != nil {
		return nil, err
	}
	if err := a.openPhones(ctx); err != nil {
		return nil, err
	}
	a.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		scrape.New("agent", collector{a}, a.reconciles), scrape.New("phones", a.phones), scrape.New("verify", &a.verified),
	)
	return a, nil
}

func (a *Agent) openState() error {
	if err := os.MkdirAll(a.opts.StateDir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.MkdirAll(a.opts.RuntimeDir, 0o755); err != nil {
		return fmt.Errorf("runtime folder: %w", err)
	}
	if (Backups{StateDir: a.opts.StateDir}).Unfinished() {
		return errors.New("a restore was interrupted: finish it with 'sae-agent backup restore --continue'")
	}
	var err error
	if a.history, err = history.Open(a.state("configs"), a.opts.RuntimeDir); err != nil {
		return err
	}
	a.secrets, err = secrets.Open(a.state("secrets.json"))
	return err
}

// state returns the path of a file of ours in the state folder.
func (a *Agent) state(name string) string { return filepath.Join(a.opts.StateDir, name) }

// firstConfig reads the configuration to begin with.
func (a *Agent) firstConfig() error {
	undone, err := a.history.UndoOverdue(time.Now())
	if err != nil {
		return err
	}
	if undone {
		a.log.Warn("a change that nobody confirmed was undone")
	}
	entry, data, err := a.history.Current()
	if err != nil && !errors.Is(err, history.ErrEmpty) {
		return err
	}
	if err == nil {
		name := fmt.Sprintf("configuration %d", entry.Seq)
		next, err := a.prepare(config.Options{}, name, data)
		if err == nil {
			next.entry = entry
			a.setApplied(next)
			return nil
		}
		// An earlier version accepted what this one does not. The file may be right already.
		a.log.Error("the configuration applied last is not valid any more, trying the file", "err", err)
	}
	next, err := a.readFile()
	if err != nil {
		return err
	}
	if next.entry, err = a.history.Add(next.data, time.Now()); err != nil {
		return err
	}
	a.setApplied(next)
	return nil
}

func (a *Agent) setApplied(next applied) {
	a.applied = next
	a.current.Store(&next)
	a.running.Store(next.cfg)
	a.keepEvents(next.cfg)
}

func (a *Agent) openPhones(ctx context.Context) error {
	s, err := phones.New(ctx, desiredPhones(a.applied.cfg, a.applied.secrets, a.facts()), phones.Deps{
		LeasedTo: a.leasedTo,
		Store:    phones.FileStore{Path: a.state("phones.json")},
		Logger:   a.log.With("part", "phones"),
		OnChange: a.wake,
	})
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.phones = s
	return nil
}

// wake makes the agent look again soon.
func (a *Agent) wake() {
	select {
	case a.look <- struct{}{}:
	default:
	}
}

// Run runs the appliance until ctx ends. Addresses, routes and forwarding stay
// as they are then.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	a.parts = supervisor.New(ctx, a.log)
	a.parts.Set("control", func(context.Context) (supervisor.Part, error) {
		return control.NewServer(a.opts.RuntimeDir, a.operations, a.log), nil
	})
	a.bringInLine()
	a.mu.Unlock()
	if a.opts.OnReady != nil {
		a.opts.OnReady()
	}
	a.log.Info("sae-agent runs", "version", a.opts.Version, "site", a.running.Load().Site.Name)
	var following sync.WaitGroup
	following.Go(func() { a.logLimit.Run(ctx) })
	following.Go(func() { a.followDHCP(ctx) })
	following.Go(func() { a.followResyncs(ctx) })
	following.Go(func() { a.watchStatus(ctx) })
	following.Go(func() { a.followAttacks(ctx) })
	a.follow(ctx)
	following.Wait()
	a.parts.Wait()
	return nil
}

// Alive reports whether the agent can be asked something before ctx ends.
func (a *Agent) Alive(ctx context.Context) bool {
	free := make(chan struct{})
	go func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		close(free)
	}()
	select {
	case <-free:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow looks again when something has changed, and now and then.
func (a *Agent) follow(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.look:
		case <-tick.C:
		}
		a.mu.Lock()
		if ctx.Err() == nil {
			a.adopt()
			a.bringInLine()
		}
		a.mu.Unlock()
		a.tellFirewall(ctx)
		if db := a.leases.Load(); db != nil {
			_ = db.Recheck(ctx) // the status tells of the error
		}
	}
}
