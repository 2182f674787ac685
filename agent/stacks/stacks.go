// Package stacks keeps the containers of Jitsi and Nextcloud as the configuration
// says: it writes their compose projects, brings them up, brings back what dies,
// says what is wrong and how to mend it, and updates their images with a backup
// and a way back.
//
// It drives 'docker compose' and asks Docker's daemon; what the projects look like
// is package project's affair. It knows nothing of the appliance's other parts.
package stacks

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

// Names are the stacks there are, in the order in which they get what is short.
var Names = [...]string{project.Jitsi, project.Nextcloud}

// Config is what the stacks should be.
type Config struct {
	Site      project.Site
	Jitsi     *project.JitsiConfig     // nil: it is off
	Nextcloud *project.NextcloudConfig // nil: it is off
	Users     []User                   // accounts to be made in Nextcloud
	Registry  string                   // takes the place of the images' own; empty: none does
	Update    UpdateConfig
}

func (c *Config) enabled(stack string) bool {
	return stack == project.Jitsi && c.Jitsi != nil || stack == project.Nextcloud && c.Nextcloud != nil
}

// User is an account of Nextcloud.
type User struct {
	Name, DisplayName string
	Password          string // the first one; never set again
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
	Dir      string // of the projects and of what is noted of them; made 0700
	Socket   string // of Docker's daemon; empty: docker.DefaultSocket
	Docker   string // the program; empty: docker
	Env      []string
	Runner   Runner
	Registry Registry
	Logger   *slog.Logger
	// OnLook is told how each look at a stack went. Nil: nobody is.
	OnLook func(took time.Duration, err error)
	// OnChange is told when a stack's state has changed. Nil: nobody is.
	OnChange func()
	// Patience is how long a project may take to get healthy; 0: defaultPatience.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// defaultPatience is enough for Nextcloud's first start and its migrations.
const defaultPatience = 20 * time.Minute

// Service keeps the stacks. Its methods may be called from any goroutine.
type Service struct {
	opts   Options
	log    *slog.Logger
	docker *docker.Client
	cli    *cli
	store  *store
	stacks map[string]*stack

	mu   sync.Mutex      // guards the following
	life context.Context // of Run; nil before
}

// New opens what was noted in opts.Dir.
func New(cfg Config, opts Options) (*Service, error) {
	if opts.Socket == "" {
		opts.Socket = docker.DefaultSocket
	}
	if opts.Docker == "" {
		opts.Docker = "docker"
	}
	if opts.OnChange == nil {
		opts.OnChange = func() {}
	}
	if opts.OnLook == nil {
		opts.OnLook = func(time.Duration, error) {}
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	st, err := openStore(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("stacks: %w", err)
	}
	s := &Service{
		opts: opts, log: opts.Logger, docker: docker.New(opts.Socket), store: st, stacks: make(map[string]*stack),
		cli: &cli{runner: opts.Runner, docker: opts.Docker, socket: opts.Socket, env: opts.Env},
	}
	for _, name := range Names {
		s.stacks[name] = newStack(s, name)
	}
	s.Apply(cfg)
	return s, nil
}

// Apply gives the stacks a new configuration; Run brings them in line with it.
func (s *Service) Apply(cfg Config) {
	for _, name := range Names {
		s.stacks[name].configure(cfg)
	}
}

// Run keeps the stacks until ctx ends. Containers go on running then.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.life = ctx
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, name := range Names {
		all.Go(func() { s.stacks[name].run(ctx) })
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

// listen has the stacks look when containers change, and when the daemon comes or goes.
func (s *Service) listen(ctx context.Context) {
	wake := func() {
		for _, st := range s.stacks {
			st.wake()
		}
	}
	for ctx.Err() == nil {
		if !s.wanted() { // nothing of Docker's concerns us
			sleep(ctx, listenAgain)
			continue
		}
		heard := false
		err := s.docker.Events(ctx, func() { heard = true; wake() })
		if heard && ctx.Err() == nil {
			s.log.Warn("Docker's daemon has ended", "err", err)
			wake()
		}
		sleep(ctx, listenAgain)
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

// Status tells how each stack is, in the order of Names.
func (s *Service) Status() []Status {
	out := make([]Status, 0, len(Names))
	for _, name := range Names {
		out = append(out, s.stacks[name].current())
	}
	return out
}

// Up brings a stack up that Down has stopped, and waits until it is up or cannot be.
func (s *Service) Up(ctx context.Context, name string) error {
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
	return st.tendFor(ctx)
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
	return st.tendFor(ctx)
}

// Hold has a stack stand still, so that its files can be copied, until release is
// called.
func (s *Service) Hold(ctx context.Context, name string) (release func(), err error) {
	st, err := s.get(name)
	if err != nil {
		return nil, err
	}
	if err := st.begin(ctx); err != nil {
		return nil, err
	}
	still, err := st.stopped(ctx)
	if err == nil && !still {
		err = st.compose(ctx, composeCall{args: []string{"stop"}})
	}
	if err != nil {
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
	return nil, fmt.Errorf("%w: there is no stack %q, there are %v", ErrUnknown, name, Names)
}

func (s *Service) dir(stack string) string { return filepath.Join(s.opts.Dir, stack) }

// sleep waits for d, or for ctx to end.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
