package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/pbx/asterisk"
	"github.com/sae-agent/sae-agent/agent/pbx/freepbx"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

const (
	// asteriskDir is where Asterisk has its configuration.
	asteriskDir = "/etc/asterisk"
	// managerAddr is where Asterisk's manager interface is.
	managerAddr = "127.0.0.1:5038"
	// managerUser and managerSecret are our account there; the latter is its name among the generated ones.
	managerUser   = "sae-agent"
	managerSecret = "pbx/manager"
	// settleTime is how long an apply waits for the exchange.
	settleTime = time.Minute
	// startPoll is how often a part is looked for that is being started.
	startPoll = 20 * time.Millisecond
	// planTime is how long a plan waits for it.
	planTime = 10 * time.Second
)

// exchange is what the exchange's part is made of.
type exchange struct {
	driver config.Driver
	sip    netip.AddrPort // where it answers SIP over UDP
	want   pbx.Desired
}

// exchangeSecrets are the generated passwords that the exchange needs, besides those of the extensions.
func exchangeSecrets(c *config.Config) []string {
	if c.PBX.Driver == config.DriverNone {
		return nil
	}
	names := []string{managerSecret}
	if c.Stacks.Jitsi.Enabled {
		names = append(names, extensionSecret(c.Stacks.Jitsi.SIPExtension))
	}
	return names
}

// desiredExchange is the exchange as it should be.
func desiredExchange(c *config.Config, secrets map[string]string, f facts) exchange {
	x := exchange{driver: c.PBX.Driver, sip: netip.AddrPortFrom(c.PBX.Address, c.SIPPort())}
	d := pbx.Desired{
		Transports: desiredTransports(c), Certificate: f.certificate, Key: pbx.Secret(f.key),
		RTPFirst: c.PBX.RTPPorts.First, RTPLast: c.PBX.RTPPorts.Last, Voicemail: c.PBX.Voicemail,
		Language: promptLanguage(c.Site.Language), ManagerUser: managerUser, ManagerSecret: pbx.Secret(secrets[managerSecret]),
		KeepRemoved: f.onProbation,
	}
	for _, codec := range c.Provisioning.Codecs {
		d.Codecs = append(d.Codecs, string(codec))
	}
	for _, e := range c.Extensions {
		d.Extensions = append(d.Extensions, pbx.Extension{
			Number: e.Number, Name: e.Name, Secret: pbx.Secret(secretOf(e, secrets)), Voicemail: e.Voicemail,
		})
	}
	d.Extensions = append(d.Extensions, f.testAccounts...)
	d.Gateway = desiredGateway(c, secrets, &d)
	x.want = d
	return x
}

func secretOf(e config.Extension, secrets map[string]string) string {
	return cmp.Or(e.Secret.Reveal(), secrets[extensionSecret(e.Number)])
}

// desiredGateway is the account of the gateway into meetings. An extension of its number in the file names its secret.
func desiredGateway(c *config.Config, secrets map[string]string, d *pbx.Desired) *pbx.Gateway {
	j := c.Stacks.Jitsi
	if !j.Enabled {
		return nil
	}
	meetings := desiredMeetings(c)
	g := &pbx.Gateway{
		Extension:    pbx.Extension{Number: j.SIPExtension, Name: "Meetings", Secret: pbx.Secret(secrets[extensionSecret(j.SIPExtension)])},
		AccessNumber: meetings.AccessNumber, Room: meetings.Room, RoomHeader: meetings.Header,
	}
	if i := slices.IndexFunc(d.Extensions, func(e pbx.Extension) bool { return e.Number == j.SIPExtension }); i >= 0 {
		g.Extension = d.Extensions[i]
		g.Voicemail = false
		d.Extensions = slices.Delete(slices.Clone(d.Extensions), i, i+1)
	}
	return g
}

// desiredTransports are how the exchange listens: on the LAN, and everywhere when somebody outside may reach SIP. UDP and
// TCP are always there, for softphones and the gateway.
func desiredTransports(c *config.Config) []pbx.Transport {
	at := c.PBX.Address
	friends := c.Firewall.Enabled && len(c.Firewall.Allow) > 0
	if friends || slices.ContainsFunc(c.Firewall.WANAllow, func(s config.Service) bool { return s.Name == "sip" || s.Name == "sips" }) {
		at = netip.IPv4Unspecified()
	}
	plain := netip.AddrPortFrom(at, c.SIPPort())
	out := []pbx.Transport{{Protocol: "udp", Listen: plain}, {Protocol: "tcp", Listen: plain}}
	if c.Provisioning.Transport == config.TransportTLS {
		out = append(out, pbx.Transport{Protocol: "tls", Listen: netip.AddrPortFrom(at, c.PBX.Port)})
	}
	return out
}

// promptLanguage is how Asterisk names the language of its spoken prompts. Those that are not installed are English.
func promptLanguage(language string) string {
	names := map[string]string{
		"French": "fr", "French_CA": "fr", "German": "de", "Italian": "it", "Spanish": "es", "Spanish_LA": "es", "Portuguese": "pt",
		"Portuguese_LA": "pt_BR", "Polish": "pl", "Turkish": "tr", "Russian": "ru", "Dutch": "nl", "Danish": "da", "Swedish": "sv",
		"Norwegian": "no", "Japanese": "ja",
	}
	return cmp.Or(names[language], "en")
}

// wantExchange has the exchange be as the configuration says. The caller holds a.mu.
func (a *Agent) wantExchange(c *config.Config, f facts) {
	if c.PBX.Driver == config.DriverNone {
		a.units.exchange.off(a.parts)
		return
	}
	a.units.exchange.want(a.parts, desiredExchange(c, a.applied.secrets, f))
}

func (a *Agent) buildExchange(ctx context.Context, x exchange) (supervisor.Part, error) {
	service := exchangeService(x.driver)
	log := a.log.With("part", "pbx")
	deps := pbx.Deps{
		Manager: ami.Config{Addr: managerAddr, User: managerUser, Secret: x.want.ManagerSecret.Reveal()},
		SIP:     x.sip, Logger: log, OnChange: a.wake,
		OnApply:      func(took time.Duration, err error) { a.reconciled("pbx", took, err) },
		OnRegistered: func(r pbx.Registration) { a.noteRegistered(ctx, r.Remote.Addr(), r.Extension) },
		OnSecurity:   a.noteAttack,
		Process:      func() bool { return service.Runs() != 0 },
	}
	if a.opts.Runner != nil {
		deps.Restart = func(ctx context.Context) error { return a.opts.Runner.Restart(ctx, service) }
	}
	var err error
	if deps.NewDriver, err = a.exchangeDriver(x.driver, service); err != nil {
		return nil, err
	}
	s := pbx.New(x.want, deps)
	return a.measure(func(ctx context.Context) error {
		a.pbx.Store(&runningExchange{s, x})
		defer a.pbx.Store(nil)
		return s.Run(ctx)
	}, s), nil
}

// runningExchange is the exchange's part, and what it was made of.
type runningExchange struct {
	*pbx.Service
	made exchange
}

// exchangeDriver says how the exchange is configured.
func (a *Agent) exchangeDriver(driver config.Driver, service runner.Service) (func(*ami.Client) pbx.Driver, error) {
	log := a.log.With("part", "pbx")
	switch driver {
	case config.DriverAsterisk:
		return func(c *ami.Client) pbx.Driver {
			return asterisk.New(asterisk.Config{
				Dir: asteriskDir, Marker: a.state("pbx-reload"), Logger: log,
				Console: func(ctx context.Context, command string) error { return a.askConsole(ctx, service, command) },
			}, c)
		}, nil
	case config.DriverFreePBX:
		machine := freepbx.NewMachine(a.opts.Runner, a.state("freepbx"))
		return func(c *ami.Client) pbx.Driver {
			return freepbx.New(freepbx.Options{
				System: machine, Record: a.state("freepbx.json"), Logger: log,
				Endpoints: func(ctx context.Context) ([]string, error) { return pbx.Endpoints(ctx, c) },
			})
		}, nil
	}
	return nil, fmt.Errorf("agent: this version cannot configure pbx.driver: %s", driver)
}

// exchangeService is the service that the exchange is.
func exchangeService(driver config.Driver) runner.Service {
	s := runner.Service{Unit: "asterisk.service", Argv: []string{"asterisk"}, Process: "asterisk", PIDFile: "/run/asterisk/asterisk.pid"}
	if driver == config.DriverFreePBX {
		s.Unit = "freepbx.service"
	}
	return s
}

func (a *Agent) changeExchange(x exchange) bool {
	r := a.pbx.Load()
	if r == nil || r.made.driver != x.driver || r.made.sip != x.sip || r.made.want.ManagerSecret != x.want.ManagerSecret {
		return false
	}
	r.Want(x.want)
	return true
}

// askConsole runs a command of Asterisk's console.
func (a *Agent) askConsole(ctx context.Context, service runner.Service, command string) error {
	if a.opts.Runner == nil {
		return errors.New("this daemon cannot run programs")
	}
	r, err := a.opts.Runner.Run(ctx, runner.Command{Name: "sae-agent-console", Argv: append(slices.Clone(service.Argv), "-rx", command)})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("asterisk -rx %q ended with status %d: is Asterisk running?", command, r.Exit)
	}
	return err
}

// exchangeState is what is known of the exchange; false: there is none that we watch.
func (a *Agent) exchangeState() (pbx.State, bool) {
	r := a.pbx.Load()
	if r == nil {
		return pbx.State{}, false
	}
	return r.State(), true
}

// inExchange are the secrets that the exchange is known to have. A phone's file has these: until the exchange has taken
// a new secret over, a phone that had it could not register.
func (a *Agent) inExchange() map[string]string {
	st, ok := a.exchangeState()
	if !ok || st.Outcome.InLine == nil {
		return nil
	}
	out := make(map[string]string, len(st.Outcome.InLine.Extensions))
	for _, e := range st.Outcome.InLine.Extensions {
		out[e.Number] = e.Secret.Reveal()
	}
	return out
}

// settleExchange waits until the exchange has been brought in line once, has the phones' files follow, and returns what
// went wrong. The caller does not hold a.mu.
func (a *Agent) settleExchange(ctx context.Context) []string {
	driver := a.running.Load().PBX.Driver
	if driver == config.DriverNone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	r := a.pbx.Load()
	for ; r == nil || r.made.driver != driver; r = a.pbx.Load() { // its part is being started
		select {
		case <-ctx.Done():
			return []string{"the exchange's part does not start: see sae-agent status"}
		case <-time.After(startPoll):
		}
	}
	outcome, err := r.Settle(ctx)
	a.mu.Lock()
	a.bringInLine()
	a.mu.Unlock()
	switch {
	case err != nil:
		return []string{"the exchange is still being changed: see sae-agent pbx status"}
	case outcome.Err != nil:
		return []string{"the exchange is not as the file says: " + outcome.Err.Error()}
	}
	return nil
}

// planExchange lists what a configuration would change of the exchange, for people. The caller holds a.mu.
func (a *Agent) planExchange(ctx context.Context, next applied) []string {
	r := a.pbx.Load()
	if r == nil || next.cfg.PBX.Driver != r.made.driver {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, planTime)
	defer cancel()
	changes, err := r.Plan(ctx, desiredExchange(next.cfg, next.secrets, a.facts()).want)
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	if err != nil {
		out = append(out, "pbx: "+err.Error())
	}
	return out
}

// exchangeFacts looks up what the exchange depends on besides the configuration.
func (a *Agent) exchangeFacts(c *config.Config, f *facts) {
	if c.PBX.Driver == config.DriverNone {
		return
	}
	p, err := a.history.Pending()
	f.onProbation = p != nil || err != nil // when in doubt, nothing is deleted
	if c.Provisioning.Transport != config.TransportTLS {
		return
	}
	if f.certificate, f.key, err = a.certificatePEM(c.LAN.Address.Addr()); err != nil {
		a.log.Error("the exchange has no certificate for TLS", "err", err)
	}
}
