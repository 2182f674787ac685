// Package stacks keeps the containers of stacks as the configuration says: it
// writes their compose projects, brings them up, brings back what dies, says what is
// wrong and how to mend it, and updates their images with a backup and a way back.
//
// It drives 'docker compose' and asks Docker's daemon. What a stack consists of, and
// what its application says of itself, is the affair of its kind. It knows nothing
// of the appliance's other parts.
package stacks

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// Config is what the stacks should be.
type Config struct {
	Site     kind.Site
	Kinds    []kind.Kind // those that are on
	Registry string      // takes the place of the images' own; empty: none does
	Update   UpdateConfig
}

// kind is a stack's kind; nil: it is off.
func (c *Config) kind(stack string) kind.Kind {
	for _, k := range c.Kinds {
		if k.Name() == stack {
			return k
		}
	}
	return nil
}

// Runner runs programs outside of the daemon's sandbox.
type Runner interface {
	// Run runs a program to its end. It MUST stop it when ctx ends.
	Run(ctx context.Context, c runner.Command) (runner.Result, error)
}

// Registry knows which images there are.
type Registry interface {
	Tags(ctx context.Context, repository string) ([]string, error)
	Digest(ctx context.Context, repository, tag string) (string, error)
}

// Options say where things are.
type Options struct {
	// Names are the stacks that there can be, in the order in which they get what is
	// short.
	Names    []string
	Dir      string // of the projects and of what is noted of them; made 0700
	Socket   string // of Docker's daemon; empty: docker.DefaultSocket
	Docker   string // the program; empty: docker
	Env      []string
	Runner   Runner
	Registry Registry
	Logger   *slog.Logger
	// Dial reaches the stacks' pages; nil: as this process does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// OnReconcile is called with how each look at a stack went. Nil: nobody is.
	OnReconcile func(took time.Duration, err error)
	// OnChange is called when a stack's state has changed. Nil: nobody is.
	OnChange func()
	// OnStep is called before each step of an update or of a backup. Nil: nobody is.
	OnStep func(stack, step string)
	// Patience is how long a project may take to get healthy; 0: defaultPatience.
	Patience time.Duration
	// Proving is how long an application may take to be ready after an update, once
	// its containers are healthy; 0: defaultProving.
	Proving time.Duration
	// MaxDelay is how long a stack that cannot be brought up is left alone at most;
	// 0: defaultMaxDelay.
	MaxDelay time.Duration
	// RestartDocker restarts Docker, and all containers with it. Nil: that is left to
	// the operator.
	RestartDocker func(context.Context) error
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// defaultPatience is enough for Nextcloud's first start and its migrations.
const (
	defaultPatience = 20 * time.Minute
	defaultProving  = 2 * time.Minute
	defaultMaxDelay = 5 * time.Minute
)

// Service keeps the stacks. Its methods may be called from any goroutine.
type Service struct {
	opts   Options
	log    *slog.Logger
	docker *docker.Client
	cli    *cli
	store  *store
	stacks map[string]*stack

	restart     sync.Mutex // held while Docker is restarted; guards the following
	lastRestart time.Time

	mu   sync.Mutex      // guards the following
	life context.Context // of Run; nil before
}

// New opens what was noted in opts.Dir.
func New(cfg Config, opts Options) (*Service, error) {
	opts.setDefaults()
	st, err := openStore(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("stacks: %w", err)
	}
	s := &Service{
		opts: opts, log: opts.Logger, docker: docker.New(opts.Socket), store: st, stacks: make(map[string]*stack),
		cli: &cli{runner: opts.Runner, docker: opts.Docker, socket: opts.Socket, env: opts.Env},
	}
	for _, name := range opts.Names {
		s.stacks[name] = newStack(s, name)
	}
	s.Apply(cfg)
	return s, nil
}

func (o *Options) setDefaults() {
	if o.Socket == "" {
		o.Socket = docker.DefaultSocket
	}
	if o.Docker == "" {
		o.Docker = "docker"
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	if o.OnReconcile == nil {
		o.OnReconcile = func(time.Duration, error) {}
	}
	if o.OnStep == nil {
		o.OnStep = func(string, string) {}
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Proving == 0 {
		o.Proving = defaultProving
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = defaultMaxDelay
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}

// Apply gives the stacks a new configuration; Run brings them in line with it.
func (s *Service) Apply(cfg Config) {
	for _, st := range s.stacks {
		st.configure(cfg)
	}
}

// Run keeps the stacks until ctx ends. Containers go on running then.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.life = ctx
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, st := range s.stacks {
		all.Go(func() { st.run(ctx) })
		all.Go(func() { st.runExtras(ctx) })
	}
	all.Go(func() { s.listen(ctx) })
	all.Wait()
	return nil
}

// lasting is a context for work that must not end in the middle because whoever has
// asked for it has gone: it ends with the service.
func (s *Service) lasting(ctx context.Context) (context.Context, context.CancelFunc, error) {
	s.mu.Lock()
	life := s.life
	s.mu.Unlock()
	if life == nil || life.Err() != nil {
		return nil, nil, ErrNotRunning
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(life, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// listenAgain is how long to wait before a daemon that did not answer is asked again.
const listenAgain = 3 * time.Second

// listen wakes the stacks when containers change, and when the daemon comes or goes.
func (s *Service) listen(ctx context.Context) {
	wake := func() {
		for _, st := range s.stacks {
			st.wake()
		}
	}
	for ctx.Err() == nil {
		if !s.wanted() { // nothing of Docker's concerns us
			pause.For(ctx, listenAgain)
			continue
		}
		heard := false
		err := s.docker.Events(ctx, func() { heard = true; wake() })
		if heard && ctx.Err() == nil {
			s.log.Warn("Docker's daemon has ended", "err", err)
			wake()
		}
		pause.For(ctx, listenAgain)
	}
}

// wanted reports whether any stack is on, or was.
func (s *Service) wanted() bool {
	for _, st := range s.stacks {
		if st.concerned() {
			return true
		}
	}
	return false
}

// Status tells how each stack is, in the order of Options.Names.
func (s *Service) Status() []Status {
	out := make([]Status, 0, len(s.opts.Names))
	for _, name := range s.opts.Names {
		out = append(out, s.stacks[name].current())
	}
	return out
}

// Up brings a stack up that Down has stopped, and waits until it is up or cannot be.
// With images, names with tags that Docker has, it goes over to those that belong to
// the stack, as an update does.
func (s *Service) Up(ctx context.Context, name string, images ...string) error {
	st, err := s.get(name)
	if err != nil {
		return err
	}
	if !st.enabled() {
		return fmt.Errorf("%w: write stacks: {%s: {enabled: true}} and apply", ErrDisabled, name)
	}
	if err := s.store.change(func(n *noted) { delete(n.Stopped, name) }); err != nil {
		return err
	}
	if len(images) > 0 {
		if err := st.takeImages(ctx, images); err != nil {
			return err
		}
	}
	return st.reconcileFor(ctx)
}

// Down stops a stack, until Up. Its data stay.
func (s *Service) Down(ctx context.Context, name string) error {
	st, err := s.get(name)
	if err != nil {
		return err
	}
	if err := s.store.change(func(n *noted) { n.Stopped[name] = true }); err != nil {
		return err
	}
	return st.reconcileFor(ctx)
}

// Hold has a stack stand still, so that its files can be copied, until release is
// called. In the middle of an update it waits; while one that failed is not undone
// there is nothing that is worth a copy.
func (s *Service) Hold(ctx context.Context, name string) (release func(), err error) {
	st, err := s.get(name)
	if err != nil {
		return nil, err
	}
	if err := st.begin(ctx); err != nil {
		return nil, err
	}
	if err := st.standStill(ctx); err != nil {
		st.end()
		st.wake()
		return nil, err
	}
	return func() {
		st.end()
		st.wake() // which starts it again
	}, nil
}

// Logs writes the last lines of the containers' logs, and with follow those to
// come until ctx ends.
func (s *Service) Logs(ctx context.Context, w io.Writer, name, service string, lines int, follow bool) error {
	st, err := s.get(name)
	if err != nil {
		return err
	}
	args := []string{"logs", "--no-color", "--timestamps", "--tail", fmt.Sprint(lines)}
	if follow {
		args = append(args, "--follow")
	}
	if service != "" {
		if _, ok := st.services()[service]; !ok {
			return fmt.Errorf("%w: %s has no service %q", ErrUnknown, name, service)
		}
		args = append(args, service)
	}
	return st.compose(ctx, composeCall{args: args, stdout: w, name: "logs"})
}

func (s *Service) get(name string) (*stack, error) {
	if st := s.stacks[name]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("%w: there is no stack %q, there are %v", ErrUnknown, name, s.opts.Names)
}

func (s *Service) dir(stack string) string { return filepath.Join(s.opts.Dir, stack) }
