// Package exchange is the part that keeps the telephone exchange on this machine.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/pbx/asterisk"
	"github.com/sae-agent/sae-agent/agent/pbx/freepbx"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// Names of the units.
const (
	name         = "pbx"
	firstRunName = "first-run"
)

const (
	// asteriskDir is where Asterisk has its configuration.
	asteriskDir = "/etc/asterisk"
	// managerAddr is where Asterisk's manager interface is.
	managerAddr = "127.0.0.1:5038"
	// managerUser and managerSecret are our account there; the latter is its name among the generated ones.
	managerUser   = "sae-agent"
	managerSecret = "pbx/manager"
	// planTime is how long a plan waits for the exchange.
	planTime = 10 * time.Second
)

// Phone is a desk phone that has an extension.
type Phone struct {
	MAC     string
	Trouble string // why it is not registered; empty: it is, or it may take longer
}

// Deps are facts of other parts, and orders to them.
type Deps struct {
	Certificate func() (cert, key string, err error)
	RoomHeader  string
	PhonesOf    func() func(number string) []Phone
	// Changes are the last new secrets that have reached a phone.
	Changes func() []control.ExtensionChange
	// Keeps reports whether a device is a phone that gets the extension's new secret from us.
	Keeps        func(pbx.Registration) bool
	OnRegistered func(context.Context, pbx.Registration)
	OnRefused    func(pbx.SecurityEvent)
	OnChange     func()
}

// Part keeps the exchange.
type Part struct {
	host          part.Host
	deps          Deps
	running       atomic.Pointer[running]   // nil while none runs
	freePBX       atomic.Pointer[openState] // what its administrator must do; nil while it is not known
	failedInstall atomic.Pointer[string]    // how its installation failed; nil while it is not known

	mu           sync.Mutex // guards the following
	testAccounts []pbx.Extension
}

// running is the service that runs, and what it was made of.
type running struct {
	*pbx.Service
	made Config
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{
		part.NewUnit(part.Spec[Config]{Name: name, Desired: p.desired, Build: p.build}),
		part.NewUnit(part.Spec[install.FirstRun]{
			Name: firstRunName,
			Desired: func(_ context.Context, in part.Input) (install.FirstRun, bool, error) {
				return desiredFirstRun(in.Config), runner.Here() && in.Config.PBX.Driver == config.DriverFreePBX, nil
			},
			Build: p.buildFirstRun,
		}),
		part.NewUnit(part.Spec[struct{}]{
			Name: installationName,
			Desired: func(_ context.Context, in part.Input) (struct{}, bool, error) {
				return struct{}{}, runner.Here() && in.Config.PBX.Driver != config.DriverNone, nil
			},
			Build: p.buildInstallation,
		}),
	}
}

func (p *Part) desired(_ context.Context, in part.Input) (Config, bool, error) {
	if in.Config.PBX.Driver == config.DriverNone {
		return Config{}, false, nil
	}
	f, err := p.facts(in)
	return Desired(in.Config, in.Secrets, f), true, err
}

func (p *Part) facts(in part.Input) (f Facts, err error) {
	p.mu.Lock()
	f.TestAccounts = p.testAccounts
	p.mu.Unlock()
	f.Pending, f.RoomHeader = in.Pending, p.deps.RoomHeader
	if in.Config.Provisioning.Transport != config.TransportTLS {
		return f, nil
	}
	if f.Certificate, f.Key, err = p.deps.Certificate(); err != nil {
		return f, fmt.Errorf("the exchange has no certificate for TLS: %w", err)
	}
	return f, nil
}

func (p *Part) build(ctx context.Context, c Config) (run part.Run[Config], err error) {
	service := serviceOf(c.driver)
	deps := pbx.Deps{
		Manager: ami.Config{Addr: managerAddr, User: managerUser, Secret: c.want.ManagerSecret.Reveal()},
		SIP:     c.sip, Logger: p.host.Logger(name), OnChange: p.deps.OnChange,
		OnApply:      func(took time.Duration, err error) { p.host.Reconciled(name, took, err) },
		OnRegistered: func(r pbx.Registration) { p.deps.OnRegistered(ctx, r) },
		OnSecurity:   p.deps.OnRefused,
		Keeps:        p.deps.Keeps,
		Record:       p.record(),
		Process:      func() bool { return service.Runs() != 0 },
	}
	if r := p.host.Runner(); r != nil {
		deps.Restart = func(ctx context.Context) error { return r.Restart(ctx, service) }
	}
	if deps.NewDriver, err = p.driver(c.driver, service); err != nil {
		return run, err
	}
	r := &running{pbx.New(c.want, deps), c}
	run.Run = func(ctx context.Context) error {
		p.running.Store(r)
		defer p.running.Store(nil)
		return r.Service.Run(ctx)
	}
	run.Apply = func(_ context.Context, c Config) error {
		if r.made.driver != c.driver || r.made.sip != c.sip || r.made.want.ManagerSecret != c.want.ManagerSecret {
			return part.ErrRebuild
		}
		r.Want(c.want)
		return nil
	}
	run.Settle = func(ctx context.Context) error { return settle(ctx, r.Service) }
	run.Collectors = []prometheus.Collector{r.Service}
	return run, nil
}

// settle waits until the exchange was brought in line once.
func settle(ctx context.Context, s *pbx.Service) error {
	outcome, err := s.Settle(ctx)
	switch {
	case err != nil:
		return err
	case errors.Is(outcome.Err, pbx.ErrAbsent):
		return nil // nothing to bring in line; the status says so
	case outcome.Err != nil:
		return fmt.Errorf("the exchange is not as the file says: %w", outcome.Err)
	}
	return nil
}

// driver returns how the exchange is configured.
func (p *Part) driver(kind config.Driver, service runner.Service) (func(*ami.Client) pbx.Driver, error) {
	log := p.host.Logger(name)
	switch kind {
	case config.DriverAsterisk:
		return func(c *ami.Client) pbx.Driver {
			return asterisk.New(asterisk.Config{
				Dir: asteriskDir, Marker: p.host.Paths().InState("pbx-reload"), Logger: log,
				Console: func(ctx context.Context, command string) error { return p.askConsole(ctx, service, command) },
			}, c)
		}, nil
	case config.DriverFreePBX:
		machine := freepbx.NewMachine(p.host.Runner(), p.host.Paths().InState("freepbx"))
		return func(c *ami.Client) pbx.Driver {
			return freepbx.New(freepbx.Options{
				System: machine, Record: p.host.Paths().InState("freepbx.json"), Logger: log,
				Accounts: func(ctx context.Context) (map[string]pbx.Account, error) { return pbx.Accounts(ctx, c) },
				Started:  func(ctx context.Context) (time.Time, error) { return pbx.Started(ctx, c) },
			})
		}, nil
	}
	return nil, fmt.Errorf("exchange: this version cannot configure pbx.driver: %s", kind)
}

// serviceOf returns the service that the exchange is.
func serviceOf(driver config.Driver) runner.Service {
	s := runner.Service{Unit: "asterisk.service", Argv: []string{"asterisk"}, Process: "asterisk", PIDFile: "/run/asterisk/asterisk.pid"}
	if driver == config.DriverFreePBX {
		s.Unit = "freepbx.service"
	}
	return s
}

// askConsole runs a command of Asterisk's console.
func (p *Part) askConsole(ctx context.Context, service runner.Service, command string) error {
	if p.host.Runner() == nil {
		return errors.New("this daemon cannot run programs")
	}
	r, err := p.host.Runner().Run(ctx, runner.Command{Name: "sae-agent-console", Argv: append(slices.Clone(service.Argv), "-rx", command)})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("asterisk -rx %q ended with status %d: is Asterisk running?", command, r.Exit)
	}
	return err
}

// State is what is known of the exchange; false: there is none that we watch.
func (p *Part) State() (pbx.State, bool) {
	r := p.running.Load()
	if r == nil {
		return pbx.State{}, false
	}
	return r.State(), true
}

// Resync asks the phone that has registered an extension to fetch its file.
func (p *Part) Resync(ctx context.Context, number string) error {
	r, err := p.watched()
	if err != nil {
		return err
	}
	return r.Resync(ctx, number)
}

// Reboot asks the phone that has registered an extension to restart.
func (p *Part) Reboot(ctx context.Context, number string) error {
	r, err := p.watched()
	if err != nil {
		return err
	}
	return r.Reboot(ctx, number)
}

// record is the file of what the exchange was last seen to have.
func (p *Part) record() string { return p.host.Paths().InState("exchange.json") }

// Secrets are those that the exchange is known to have, by extension, also from before
// the daemon was started; nil while that is not known. A phone's file has these: until
// the exchange has taken a new secret over, a phone that had it could not register.
func (p *Part) Secrets() map[string]string {
	st, ok := p.State()
	if !ok {
		return pbx.RecordedSecrets(p.record())
	}
	if st.Outcome.ReadBack == nil {
		return nil
	}
	out := make(map[string]string, len(st.Outcome.ReadBack.Extensions))
	for _, e := range st.Outcome.ReadBack.Extensions {
		out[e.Number] = e.Secret.Reveal()
	}
	return out
}

// Lend has the exchange have these accounts besides, and no others, and returns when
// it has. Whatever happens to the daemon, they are removed when the exchange is
// brought in line the next time.
func (p *Part) Lend(ctx context.Context, accounts []pbx.Extension) error {
	p.mu.Lock()
	p.testAccounts = accounts
	p.mu.Unlock()
	return p.host.Settle(ctx, name)
}

// SecretNames implements part.SecretNamer.
func (p *Part) SecretNames(c *config.Config) (names []string) {
	if c.PBX.Driver == config.DriverNone {
		return nil
	}
	return []string{managerSecret}
}

// Features implements part.Featurer.
func (p *Part) Features(c *config.Config) map[string]bool {
	return map[string]bool{name: c.PBX.Driver != config.DriverNone}
}

// Plan implements part.Planner.
func (p *Part) Plan(ctx context.Context, next part.Input, plan *control.Plan) {
	r := p.running.Load()
	if r == nil || next.Config.PBX.Driver != r.made.driver {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, planTime)
	defer cancel()
	f, err := p.facts(next)
	var changes []pbx.Change
	if err == nil {
		changes, err = r.Plan(ctx, Desired(next.Config, next.Secrets, f).want)
	}
	for _, c := range changes {
		plan.Machine = append(plan.Machine, c.String())
	}
	if err != nil {
		plan.Machine = append(plan.Machine, name+": "+err.Error())
	}
}

// Trees implements part.Keeper.
func (p *Part) Trees(part.Paths, part.HoldFunc) []backup.Tree {
	return []backup.Tree{
		{Name: "asterisk", Path: asteriskDir, Foreign: true},
		{Name: "voicemail", Path: "/var/spool/asterisk/voicemail", Foreign: true},
		{Name: "asterisk-database", Path: "/var/lib/asterisk", Only: []string{"astdb.sqlite3"}},
	}
}
