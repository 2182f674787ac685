package stacks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

const (
	// tendEvery finds what no event tells: room on the disk, a renewed certificate.
	tendEvery = 30 * time.Second
	// How long a stack that cannot be brought up is left alone, at first and at most.
	firstDelay, maxDelay = 5 * time.Second, 5 * time.Minute
	// steadyAfter is how long a stack must be well for its next failure to begin at firstDelay.
	steadyAfter = 5 * time.Minute
)

// stack is one stack. One goroutine at a time works on it: who holds work.
type stack struct {
	*Service
	name  string
	log   *slog.Logger
	work  chan struct{} // holds one token; taken by who works on the stack
	look  chan struct{} // holds one token when a new look is due
	fixed atomic.Uint64 // times that it was brought back

	mu     sync.Mutex // guards the following
	cfg    Config
	status Status

	// For who holds work.
	delay     time.Duration
	wellSince time.Time
	setUp     string // digest of what was set up in it; Nextcloud's only
}

func newStack(s *Service, name string) *stack {
	return &stack{
		Service: s, name: name, log: s.opts.Logger.With("stack", name), work: make(chan struct{}, 1), look: make(chan struct{}, 1),
		status: Status{Name: name, State: Off, Since: time.Now()},
	}
}

func (s *stack) dir() string     { return s.Service.dir(s.name) }
func (s *stack) project() string { return "sae-" + s.name }

func (s *stack) configure(cfg Config) {
	s.mu.Lock()
	s.cfg = cfg
	s.mu.Unlock()
	s.wake()
}

func (s *stack) config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

func (s *stack) enabled() bool {
	cfg := s.config()
	return cfg.enabled(s.name)
}

// concerned reports whether there is or was something of this stack here.
func (s *stack) concerned() bool {
	if s.enabled() {
		return true
	}
	_, err := os.Stat(s.dir())
	return err == nil
}

func (s *stack) wake() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// current is the stack's status.
func (s *stack) current() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Repairs = s.fixed.Load()
	return st
}

// note changes the status, and tells who wants to know when the state or the
// problem has changed.
func (s *stack) note(change func(*Status)) {
	s.mu.Lock()
	before := s.status
	change(&s.status)
	after := s.status
	changed := before.State != after.State || text(before.Problem) != text(after.Problem)
	if changed {
		s.status.Since = time.Now()
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	if p := after.Problem; p != nil && (after.State == Blocked || after.State == Degraded) {
		s.log.Warn("stack is "+string(after.State), "problem", p.What, "fix", p.Fix)
	} else {
		s.log.Info("stack is " + string(after.State))
	}
	s.opts.OnChange()
}

func text(p *Problem) string {
	if p == nil {
		return ""
	}
	return p.Error()
}

// run tends the stack until ctx ends.
func (s *stack) run(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		_ = s.tend(ctx, false) // the status says what is wrong
		if ctx.Err() == nil {
			s.updateByItself(ctx)
		}
		retry := time.NewTimer(s.untilRetry())
		select {
		case <-ctx.Done():
			retry.Stop()
			return
		case <-s.look:
		case <-tick.C:
		case <-retry.C:
		}
		retry.Stop()
	}
}

func (s *stack) untilRetry() time.Duration {
	next := s.current().NextTry
	if next.IsZero() {
		return time.Hour
	}
	return max(0, time.Until(next))
}

// begin takes the right to work on the stack.
func (s *stack) begin(ctx context.Context) error {
	select {
	case s.work <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stack) end() { <-s.work }

// tend looks at the stack and does what is needed. With now it does not wait for
// the time after a failure to pass.
func (s *stack) tend(ctx context.Context, now bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	began := time.Now()
	err := s.tendOnce(ctx, now)
	if ctx.Err() == nil && s.concerned() {
		s.opts.OnLook(time.Since(began), err)
	}
	var p *Problem
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case !errors.As(err, &p):
		p = problem(Failed, "the journal may say more", "%v", err)
	}
	s.failed(p)
	return p
}

// tendFor is tend for somebody who waits and may go.
func (s *stack) tendFor(ctx context.Context) error {
	ctx, cancel, err := s.lasting(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return s.tend(ctx, true)
}

// stopped reports whether no container of the stack runs.
func (s *stack) stopped(ctx context.Context) (bool, error) {
	if _, err := os.Stat(s.dir()); err != nil {
		return true, nil
	}
	have, err := s.docker.Containers(ctx, s.project())
	if errors.Is(err, docker.ErrDown) {
		return true, nil
	}
	for _, c := range have {
		if c.State != "exited" && c.State != "created" && c.State != "dead" {
			return false, err
		}
	}
	return true, err
}

// failed notes a problem, and when to try again.
func (s *stack) failed(p *Problem) {
	now := time.Now()
	if !s.wellSince.IsZero() && now.Sub(s.wellSince) >= steadyAfter {
		s.delay = 0
	}
	s.wellSince = time.Time{}
	s.delay = min(max(2*s.delay, firstDelay), maxDelay)
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry = Blocked, p, now.Add(s.delay)
		if p.Code == Unhealthy || p.Code == Failed {
			st.State = Degraded
		}
	})
}

func (s *stack) tendOnce(ctx context.Context, now bool) error {
	if !s.enabled() || s.store.get().Stopped[s.name] {
		return s.takeDown(ctx)
	}
	if !now && time.Now().Before(s.current().NextTry) && s.sameTrouble(ctx) {
		return nil
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	return s.bring(ctx)
}

// sameTrouble reports whether a look shows what the last one did: an event may
// mean that waiting is over.
func (s *stack) sameTrouble(ctx context.Context) bool {
	p := s.current().Problem
	if p == nil || p.Code != DaemonDown && p.Code != NoDocker {
		return true
	}
	_, err := s.docker.Version(ctx)
	return err != nil
}

// usable reports why Docker and Compose will not do.
func (s *stack) usable(ctx context.Context) error {
	if _, err := s.docker.Version(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return daemonProblem(err, s.cli.installed())
	}
	if p := s.cli.check(ctx); p != nil {
		return p
	}
	return nil
}

// takeDown stops what runs of a stack that is off or stopped.
func (s *stack) takeDown(ctx context.Context) error {
	state := Off
	if s.enabled() {
		state = Stopped
	}
	if _, err := os.Stat(s.dir()); err == nil {
		if err := s.usable(ctx); err != nil {
			var p *Problem
			if state == Off && errors.As(err, &p) && (p.Code == NoDocker || p.Code == DaemonDown) {
				s.rest(state, nil) // nothing can run
				return nil
			}
			return err
		}
		if err := s.recover(ctx); err != nil {
			return err
		}
		have, err := s.docker.Containers(ctx, s.project())
		if err != nil {
			return err
		}
		if len(have) > 0 {
			if err := s.compose(ctx, composeCall{args: []string{"down", "--remove-orphans"}}); err != nil {
				return err
			}
		}
	}
	s.rest(state, nil)
	return nil
}

func (s *stack) rest(state State, services []ServiceStatus) {
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry, st.Services, st.Notes, st.URL = state, nil, time.Time{}, services, nil, ""
	})
}

// images are those that run or will: what was noted, else what is pinned.
func (s *stack) images() project.Images {
	out := project.Pinned()
	registry := s.config().Registry
	for stack, services := range out {
		for name, i := range services {
			services[name] = i.At(registry)
		}
		for name, i := range s.store.get().Images[stack] {
			if _, ok := services[name]; ok {
				i.SizeMB = services[name].SizeMB
				services[name] = i
			}
		}
	}
	return out
}

// render is the project as it should be.
func (s *stack) render(images project.Images) (*project.Project, error) {
	cfg := s.config()
	var j project.JitsiConfig
	var n project.NextcloudConfig
	if cfg.Jitsi != nil {
		j = *cfg.Jitsi
	}
	if cfg.Nextcloud != nil {
		n = *cfg.Nextcloud
	}
	return project.Render(s.name, cfg.Site, j, n, images)
}

func (s *stack) services() map[string]project.Image { return s.images()[s.name] }

// bring makes the containers as the project says.
func (s *stack) bring(ctx context.Context) error {
	p, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	have, err := s.docker.Containers(ctx, s.project())
	if err != nil {
		return err
	}
	s.note(func(st *Status) { st.URL, st.Services = p.URL, serviceStatus(p.Services, have) })
	digest := digestOf(p)
	applied := s.store.get().Applied[s.name]
	todo, sick := judge(p.Services, have)
	switch {
	case applied == digest && todo == nothing:
		return s.well(ctx, p)
	case applied == digest && todo == patience:
		s.note(func(st *Status) { st.State, st.Problem = Starting, nil })
		return nil
	}
	again := applied == digest
	s.note(func(st *Status) {
		st.State = Starting
		if again {
			st.State = Degraded
		}
	})
	if again {
		s.fixed.Add(1)
		s.log.Warn("stack is brought back", "sick", sick)
	}
	if err := s.up(ctx, sick); err != nil {
		return err
	}
	if err := s.store.change(func(n *noted) { n.Applied[s.name] = digest }); err != nil {
		return err
	}
	if have, err = s.docker.Containers(ctx, s.project()); err != nil {
		return err
	}
	s.note(func(st *Status) { st.Services = serviceStatus(p.Services, have) })
	return s.well(ctx, p)
}

// prepare checks what the project needs, fetches images and writes its files.
func (s *stack) prepare(ctx context.Context) (*project.Project, error) {
	p, err := s.render(s.images())
	if err != nil {
		return nil, err
	}
	missing, err := s.missing(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := s.room(ctx, p, missing); err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		s.note(func(st *Status) { st.State, st.URL = Starting, p.URL })
		if err := s.fetch(ctx, missing); err != nil {
			return nil, err
		}
	}
	if p, err = s.fix(ctx, p); err != nil {
		return nil, err
	}
	if err := writeProject(s.dir(), p); err != nil {
		return nil, fmt.Errorf("stacks: write the project: %w", err)
	}
	return p, nil
}

// up has Compose make the containers, and waits until they are healthy.
func (s *stack) up(ctx context.Context, sick []string) error {
	if len(sick) > 0 { // up leaves alone what runs
		if err := s.compose(ctx, composeCall{args: append([]string{"restart", "--no-deps"}, sick...)}); err != nil {
			return err
		}
	}
	return s.compose(ctx, composeCall{args: []string{
		"up", "--detach", "--remove-orphans", "--wait", "--wait-timeout", fmt.Sprint(int(s.opts.Patience.Seconds())),
	}})
}

// well notes that all containers are healthy, and does what is to be done inside.
func (s *stack) well(ctx context.Context, p *project.Project) error {
	var notes []string
	if s.name == project.Nextcloud {
		var err error
		if notes, err = s.setUpNextcloud(ctx); err != nil {
			return err
		}
	}
	if s.wellSince.IsZero() {
		s.wellSince = time.Now()
	}
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry, st.URL, st.Notes = Healthy, nil, time.Time{}, p.URL, notes
	})
	return nil
}

// digestOf tells projects apart.
func digestOf(p *project.Project) string {
	h := sha256.New()
	h.Write(p.Compose)
	h.Write(p.Env)
	for _, f := range p.Files {
		if !f.Once {
			h.Write(f.Content)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// missing are the images that the daemon does not have.
func (s *stack) missing(ctx context.Context, p *project.Project) ([]project.Image, error) {
	var out []project.Image
	for _, v := range p.Services {
		_, err := s.docker.Image(ctx, v.Image.Ref())
		switch {
		case errors.Is(err, docker.ErrNotFound):
			out = append(out, v.Image)
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

func (s *stack) fetch(ctx context.Context, images []project.Image) error {
	for _, i := range images {
		s.log.Info("fetching an image", "image", i.Ref())
		if p := s.cli.pull(ctx, s.name, i.Ref()); p != nil {
			return p
		}
	}
	return nil
}

// fix notes what the tags of a project mean today, so that they mean the same
// tomorrow, and returns the project with it.
func (s *stack) fix(ctx context.Context, p *project.Project) (*project.Project, error) {
	fixed := make(map[string]project.Image, len(p.Services))
	for name, v := range p.Services {
		i := v.Image
		if i.Digest == "" {
			have, err := s.docker.Image(ctx, i.Ref())
			if err != nil {
				return nil, err
			}
			i.Digest = digestIn(have.Digests, i.Repository)
		}
		i.SizeMB = 0
		fixed[name] = i
	}
	known := s.store.get().Images[s.name]
	same := len(known) == len(fixed)
	for name, i := range fixed {
		same = same && known[name] == i
	}
	if !same {
		if err := s.store.change(func(n *noted) { n.Images[s.name] = fixed }); err != nil {
			return nil, err
		}
	}
	return s.render(s.images())
}

// digestIn finds a repository's digest among an image's. Docker leaves docker.io
// and library out of names. An image that was loaded by hand has none.
func digestIn(digests []string, repository string) string {
	short := strings.TrimPrefix(strings.TrimPrefix(repository, "docker.io/"), "library/")
	for _, d := range digests {
		if name, digest, ok := strings.Cut(d, "@"); ok && (name == repository || name == short) {
			return digest
		}
	}
	return ""
}
