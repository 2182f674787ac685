package pbx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/internal/signal"
)

const (
	observeEvery = 30 * time.Second       // without an event
	observeDelay = 200 * time.Millisecond // after an event, for those that follow it
	observePause = time.Second            // between two queries: 1,000 phones registering are not 1,000 queries
	probeEvery   = 15 * time.Second
	probeUnwell  = time.Second     // while it is not well
	applyEvery   = 5 * time.Minute // finds what somebody else has changed
	retryFirst   = 2 * time.Second
	retryMax     = time.Minute
	pausePoll    = 10 * time.Second
	callTime     = 10 * time.Minute // for how long a call puts off a new secret
	readTime     = 10 * time.Second // for the manager interface to take us in again after a reload
	readPause    = 100 * time.Millisecond
	firstAnswer  = 5 * time.Second
	restartTime  = 2 * time.Minute // for one attempt to start the exchange
)

// Deps are what the service needs from others.
type Deps struct {
	// Manager says how the manager interface is reached; the service sets its On functions.
	Manager ami.Config
	// NewDriver makes the driver of the exchange.
	NewDriver func(*ami.Client) Driver
	// SIP is where the exchange answers SIP over UDP.
	SIP    netip.AddrPort
	Logger *slog.Logger
	// Restart restarts the exchange, or starts it if it does not run. Nil: nobody does.
	Restart func(ctx context.Context) error
	// Process reports whether a process of the exchange is there.
	Process func() bool
	// OnChange is called when State has changed. It must not block.
	OnChange func()
	// OnApply is called after each attempt to apply, with its duration and its error. Nil: it is not called.
	OnApply func(took time.Duration, err error)
	// OnRegistered is called for each device that has registered. It must not block. Nil: it is not called.
	OnRegistered func(Registration)
	// OnSecurity is called for every attempt that was refused. It must not block. Nil: it is not called.
	OnSecurity func(SecurityEvent)
	// Keeps reports whether a device may stay registered after the secret of its account has changed, because it gets the
	// new one from us. It must not block. Nil: none may.
	Keeps func(Registration) bool
	// Record is a file of ours, mode 0600, for what must outlive us: the secrets that the exchange was last seen to take.
	// Empty: nothing does.
	Record string
	// Dial connects to the manager interface and to SIP; default net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Outcome is how it went to make the exchange as it should be.
type Outcome struct {
	At      time.Time // zero: not tried yet
	Changes []Change
	Err     error
	// Unserved are the extensions that are wanted and not in service, in the order of the file.
	Unserved []Unserved
	// Waiting are the extensions whose new secret waits for the end of a call.
	Waiting []string
	// RestartDue says why the exchange must be restarted, and that we leave this to a person; empty: it need not.
	RestartDue string
	// Problems are what the driver says besides.
	Problems []problem.Problem
	// ReadBack is the exchange as it was last read back: its Extensions are those that Asterisk runs with, with the secrets
	// that it takes, whatever is wanted. Nil: not known. It outlives us, so that a phone never gets a secret only because
	// we were started.
	ReadBack *Desired
}

// State is the exchange as it is now. It is never changed after it was handed out.
type State struct {
	Health   Health
	Lines    map[string]Line // by account, as last observed
	Calls    int
	Current  []Call    // as last observed, the oldest first
	Observed time.Time // zero: never
	Outcome  Outcome
	Paused   time.Time // until when it is left alone; zero: it is not
	// Changed is since when the exchange may take the secret that it takes, by extension; only those whose secret has changed
	// since we run. Until its phone has the new one, too, it could not register.
	Changed map[string]time.Time
	// Refused is the last attempt that was refused, by account; only accounts that exist.
	Refused map[string]SecurityEvent
}

// Service watches one exchange and keeps it as it should be.
type Service struct {
	deps   Deps
	log    *slog.Logger
	client *ami.Client
	driver Driver
	stats  *metrics
	calls  *callLog

	dirty  signal.Signal // an observation is due
	probe  signal.Signal // a probe is due
	apply  signal.Signal // an attempt to apply is due
	driven sync.Mutex    // held while the driver works

	mu      sync.Mutex // guards the following
	want    Desired
	version int // of want
	tried   int // version that was tried last
	settled chan struct{}
	state   State
	doctor  doctor
	record  record
	saved   string               // the record as it is on disk
	ours    bool                 // we are restarting the exchange, which stops it first
	waiting map[string]time.Time // extensions whose new secret waits for the end of a call, and since when
}

// New returns a service that makes the exchange as want says, once it runs.
func New(want Desired, deps Deps) *Service {
	if deps.Dial == nil {
		deps.Dial = new(net.Dialer).DialContext
	}
	if deps.OnSecurity == nil {
		deps.OnSecurity = func(SecurityEvent) {}
	}
	if deps.OnRegistered == nil {
		deps.OnRegistered = func(Registration) {}
	}
	if deps.Keeps == nil {
		deps.Keeps = func(Registration) bool { return false }
	}
	if deps.OnApply == nil {
		deps.OnApply = func(time.Duration, error) {}
	}
	s := &Service{
		deps: deps, log: deps.Logger, stats: newMetrics(), calls: newCallLog(deps.Logger),
		dirty: signal.New(), probe: signal.New(), apply: signal.New(),
		want: want, version: 1, settled: make(chan struct{}), doctor: newDoctor(time.Now()),
	}
	s.state.Health = s.doctor.health
	s.restore()
	m := deps.Manager
	m.Dial, m.Logger = deps.Dial, deps.Logger
	m.OnUp = func() { s.dirty.Notify(); s.probe.Notify(); s.apply.Notify() }
	m.OnDown = func(error) { s.calls.reset(); s.probe.Notify() }
	m.OnEvent = s.event
	s.client = ami.New(m)
	s.driver = deps.NewDriver(s.client)
	return s
}

// restore takes up what was known when the last daemon ended.
func (s *Service) restore() {
	var err error
	if s.record, err = loadRecord(s.deps.Record); err != nil {
		s.log.Error("cannot tell which secrets the exchange had", "err", err)
	}
	if len(s.record.Secrets) == 0 {
		return
	}
	s.state.Outcome.ReadBack = new(Desired)
	for _, number := range slices.Sorted(maps.Keys(s.record.Secrets)) {
		s.state.Outcome.ReadBack.Extensions = append(s.state.Outcome.ReadBack.Extensions, Extension{Number: number, Secret: Secret(s.record.Secrets[number])})
	}
}

// Run works until ctx ends. The exchange goes on as it is then.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { _ = s.client.Run(ctx) })
	all.Go(func() { s.applyLoop(ctx) })
	all.Go(func() { s.observeLoop(ctx) })
	all.Go(func() { s.probeLoop(ctx) })
	all.Wait()
	return nil
}

// Want gives the exchange a new desired state, and does not wait for it. Nothing happens when it is the same.
func (s *Service) Want(d Desired) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(s.want, d) {
		return
	}
	s.want = d
	s.version++
	s.apply.Notify()
}

// Settle waits until what is wanted now was tried once, and says how that went. What was tried before and failed is
// tried once more.
func (s *Service) Settle(ctx context.Context) (Outcome, error) {
	s.mu.Lock()
	if s.tried == s.version && s.state.Outcome.Err != nil {
		s.version++
		s.apply.Notify()
	}
	version := s.version
	for s.tried < version {
		changed := s.settled
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Outcome{}, ctx.Err()
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.state.Outcome, nil
}

// Plan says what would be done to have the exchange as d says.
func (s *Service) Plan(ctx context.Context, d Desired) ([]Change, error) {
	s.driven.Lock()
	defer s.driven.Unlock()
	return s.driver.Plan(ctx, d)
}

// State returns what is known of the exchange, from memory.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.state
	if time.Now().Before(s.record.Paused) {
		out.Paused = s.record.Paused
	}
	return out
}

// RecentCalls returns the calls that have ended since this program was started, the newest last.
func (s *Service) RecentCalls() []Call { return s.calls.recent() }

// Resync asks every device of an extension to fetch its configuration again, without a reboot (Yealink: NOTIFY with
// check-sync). Whether it does is seen only where it fetches.
func (s *Service) Resync(ctx context.Context, extension string) error {
	return s.checkSync(ctx, extension, "fetch its configuration", "false")
}

// Reboot asks every device of an extension to restart, as Resync does.
func (s *Service) Reboot(ctx context.Context, extension string) error {
	return s.checkSync(ctx, extension, "restart", "true")
}

func (s *Service) checkSync(ctx context.Context, extension, what, reboot string) error {
	_, err := s.client.Do(ctx, ami.NewAction("PJSIPNotify", "Endpoint", extension, "Variable", "Event=check-sync;reboot="+reboot))
	if err != nil {
		return fmt.Errorf("pbx: ask extension %s to %s: %w", extension, what, err)
	}
	return nil
}

// ErrCalls says that an exchange is not restarted because of calls.
var ErrCalls = errors.New("calls go on")

// Restart restarts the exchange; only with force when there are calls.
func (s *Service) Restart(ctx context.Context, force bool) error {
	if s.deps.Restart == nil {
		return errors.New("pbx: nobody here can start the exchange")
	}
	if calls := s.State().Calls; calls > 0 && !force {
		return fmt.Errorf("%w: %d", ErrCalls, calls)
	}
	return s.restart(ctx, "by hand", true)
}

// Pause leaves the exchange alone until a moment: it is neither changed nor started. One in the past ends a pause.
func (s *Service) Pause(until time.Time) {
	if !until.After(time.Now()) {
		until = time.Time{}
	}
	s.remember(func(r *record) { r.Paused = until })
	s.log.Info("pause of the exchange", "until", until)
	s.apply.Notify()
	s.probe.Notify()
}

// stopped notes that the exchange ends in order, and not because we restart it: somebody wants it so.
func (s *Service) stopped(m ami.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ours && !strings.EqualFold(m.Get("Restart"), "True") {
		s.record.Stopped = time.Now() // the next probe writes it: who reads events must not wait for the disk
	}
}

// event takes an event of the manager interface. It makes an observation due; the rest of it is only counted and logged.
func (s *Service) event(m ami.Message) {
	switch m.Event() {
	case "ContactStatus", "DeviceStateChange":
		s.dirty.Notify()
	case "Shutdown":
		s.stopped(m)
		s.probe.Notify()
	}
	s.calls.event(m)
	e, ok := securityEvent(m, time.Now())
	if !ok {
		return
	}
	s.stats.refused.WithLabelValues(string(e.Kind)).Inc()
	s.log.Debug("refused", "kind", string(e.Kind), "service", e.Service, "extension", e.Account, "address", e.Remote.Addr())
	if s.noteRefused(e) {
		s.deps.OnChange()
	}
	s.deps.OnSecurity(e)
}

// noteRefused keeps the last attempt for an account that exists. What is said of others is anybody's to invent.
func (s *Service) noteRefused(e SecurityEvent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	for _, x := range s.want.Extensions {
		known = known || x.Number == e.Account
	}
	if !known || e.Service != "PJSIP" {
		return false
	}
	refused := make(map[string]SecurityEvent, len(s.state.Refused)+1)
	for k, v := range s.state.Refused {
		refused[k] = v
	}
	refused[e.Account] = e
	s.state.Refused = refused
	return true
}
