package stacks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// images are those that run or will: what was noted, else what is pinned.
func (s *stack) images() map[string]kind.Image {
	k := s.kind()
	if k == nil {
		return nil
	}
	out := k.Images()
	registry := s.config().Registry
	was := s.store.get().Images[s.name]
	for name, i := range out {
		if n, ok := was[name]; ok && strings.HasSuffix(n.Repository, "/"+i.Path()) {
			// Tag and digest are those that run; where they come from is as configured now.
			i.Tag, i.Digest = n.Tag, n.Digest
		}
		out[name] = i.At(registry)
	}
	return out
}

// render is the project as it should be.
func (s *stack) render(images map[string]kind.Image) (*kind.Project, error) {
	k := s.kind()
	if k == nil {
		return nil, ErrDisabled
	}
	return k.Render(s.config().Site, images)
}

func (s *stack) services() map[string]kind.Image { return s.images() }

// ensureUp makes the containers as the project says.
func (s *stack) ensureUp(ctx context.Context) error {
	p, rewritten, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	have, err := s.docker.Containers(ctx, s.project())
	if err != nil {
		return err
	}
	s.note(func(st *Status) { st.URL, st.Services = p.URL, serviceStatus(p.Services, have) })
	hashes, err := s.wantedHashes(ctx, p)
	if err != nil {
		return err
	}
	digest := digestOf(p)
	again := s.store.get().Applied[s.name] == digest
	todo, sick := judge(p.Services, have, hashes)
	if again && rewritten && len(have) > 0 { // somebody has changed what they have read
		todo, sick = composeUp, serviceNames(p)
	}
	switch todo {
	case nothing:
		if err := s.applied(digest); err != nil {
			return err
		}
		return s.proveReady(ctx, p, readyTime)
	case patience:
		s.note(func(st *Status) { st.State, st.Problem = Starting, nil })
		return nil
	}
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
	if err := s.up(ctx, p, sick); err != nil {
		return err
	}
	if err := s.applied(digest); err != nil {
		return err
	}
	if have, err = s.docker.Containers(ctx, s.project()); err != nil {
		return err
	}
	s.note(func(st *Status) { st.Services = serviceStatus(p.Services, have) })
	return s.proveReady(ctx, p, s.opts.Patience)
}

// applied notes which project came up last.
func (s *stack) applied(digest string) error {
	if s.store.get().Applied[s.name] == digest {
		return nil
	}
	return s.store.change(func(n *noted) { n.Applied[s.name] = digest })
}

func serviceNames(p *kind.Project) (out []string) {
	for name := range p.Services {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// prepare checks what the project needs, fetches images and writes its files.
// rewritten says that one that containers read was not as it should be.
func (s *stack) prepare(ctx context.Context) (p *kind.Project, rewritten bool, err error) {
	if p, err = s.render(s.images()); err != nil {
		return nil, false, err
	}
	if err := s.refuseForeign(p); err != nil {
		return nil, false, err
	}
	missing, err := s.missing(ctx, p)
	if err != nil {
		return nil, false, err
	}
	if err := s.room(ctx, p, missing); err != nil {
		return nil, false, err
	}
	if len(missing) > 0 {
		s.note(func(st *Status) { st.State, st.URL = Starting, p.URL })
		if err := s.fetch(ctx, missing); err != nil {
			return nil, false, err
		}
	}
	if p, err = s.pin(ctx, p); err != nil {
		return nil, false, err
	}
	if rewritten, err = writeProject(s.dir(), p); err != nil {
		return nil, false, fmt.Errorf("stacks: write the project: %w", err)
	}
	return p, rewritten, nil
}

// refuseForeign returns a problem when another project has left its data.
func (s *stack) refuseForeign(p *kind.Project) error {
	for path, n := range p.Foreign {
		if _, err := os.Lstat(filepath.Join(s.dir(), path)); err == nil {
			return problem(ForeignData, n.Fix, "%s: %s", s.dir(), n.What)
		}
	}
	return nil
}

// wantedHashes are what Compose makes of each service: containers that were made
// from something else carry another one.
func (s *stack) wantedHashes(ctx context.Context, p *kind.Project) (map[string]string, error) {
	digest := digestOf(p)
	if s.hashes.digest == digest {
		return s.hashes.services, nil
	}
	out, err := s.composeOutput(ctx, composeCall{args: []string{"config", "--hash", "*"}})
	if err != nil {
		return nil, err
	}
	services := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if name, hash, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			services[name] = hash
		}
	}
	s.hashes.digest, s.hashes.services = digest, services
	return services, nil
}

// up has Compose make the containers, and waits until they are healthy.
func (s *stack) up(ctx context.Context, p *kind.Project, sick []string) error {
	if len(sick) > 0 { // up leaves alone what runs
		if err := s.compose(ctx, composeCall{args: append([]string{"restart", "--no-deps"}, sick...)}); err != nil {
			return err
		}
	}
	err := s.upFreeingPorts(ctx, func() error {
		return s.compose(ctx, composeCall{args: []string{
			"up", "--detach", "--remove-orphans", "--wait", "--wait-timeout", fmt.Sprint(int(s.opts.Patience.Seconds())),
		}})
	})
	if err == nil {
		err = s.reallyUp(ctx, p)
	}
	return s.withExcerpt(ctx, p, err)
}

// reallyUp looks itself: when the time of --wait-timeout is over, Compose sometimes
// says that all is well.
func (s *stack) reallyUp(ctx context.Context, p *kind.Project) error {
	have, err := s.docker.Containers(ctx, s.project())
	if err != nil {
		return err
	}
	if todo, _ := judge(p.Services, have, nil); todo == nothing {
		return nil
	}
	return problem(Unhealthy, "'sae-agent stacks logs' shows what it says", "%s not healthy after %v", strings.Join(down(p, have), ", "), s.opts.Patience)
}

// down are the services that are not up.
func down(p *kind.Project, have []docker.Container) (out []string) {
	for _, v := range serviceStatus(p.Services, have) {
		if !v.Up {
			out = append(out, v.Name)
		}
	}
	return out
}

// withExcerpt adds to a problem of the containers what their logs tell of its cause.
func (s *stack) withExcerpt(ctx context.Context, p *kind.Project, err error) error {
	var why *Problem
	if !errors.As(err, &why) || why.Code != Unhealthy {
		return err
	}
	have, failed := s.docker.Containers(ctx, s.project())
	if failed != nil {
		return err
	}
	services := down(p, have)
	if len(services) == 0 {
		services = serviceNames(p)
	}
	log, failed := s.composeOutput(ctx, composeCall{args: append([]string{"logs", "--no-color", "--no-log-prefix", "--tail", "200"}, services...), name: "logs"})
	if failed != nil {
		return err
	}
	text := s.kind().Excerpt(log)
	if text == "" {
		return err
	}
	return problem(why.Code, why.Fix, "%s: %s", why.What, clip(text))
}

// readyTime is how long an application that was ready may be busy.
const readyTime = 20 * time.Second

// proveReady asks the application itself, ends a standstill that nobody wants any
// more, and does what is to be done inside.
func (s *stack) proveReady(ctx context.Context, p *kind.Project, limit time.Duration) error {
	if err := s.untilReady(ctx, p, limit, false); err != nil {
		return s.withExcerpt(ctx, p, err)
	}
	if k, ok := s.kind().(kind.SetUpper); ok && !s.setUp {
		if err := k.SetUp(ctx, s.inside(p, "inside")); err != nil {
			return err
		}
		s.setUp = true
	}
	if s.wellSince.IsZero() {
		s.wellSince = time.Now()
	}
	s.watch(ctx, p)
	s.note(func(st *Status) {
		st.State, st.Problem, st.NextTry, st.URL = Healthy, nil, time.Time{}, p.URL
	})
	return nil
}

// untilReady asks until the application is ready. It may stand still because we had it do so, or because somebody
// began a work that he did not end.
func (s *stack) untilReady(ctx context.Context, p *kind.Project, limit time.Duration, byUs bool) error {
	in := s.inside(p, "inside")
	for deadline := time.Now().Add(limit); ; pause.For(ctx, time.Second) {
		r, err := s.kind().Ready(ctx, in)
		if err == nil && !r.Held {
			return nil
		}
		if err == nil { // nobody works on the stack but us
			if !byUs {
				s.log.Warn("the application stands still, and nobody wants it to: it goes on")
			}
			err = s.kind().(kind.Holder).Hold(ctx, in, false)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && time.Now().After(deadline):
			return problem(Unhealthy, "'sae-agent stacks logs "+s.name+"' shows what it says", "%v", err)
		}
	}
}

// watchEvery is how often a kind is asked for what is no failure.
const watchEvery = 10 * time.Minute

func (s *stack) watch(ctx context.Context, p *kind.Project) {
	k, ok := s.kind().(kind.Watcher)
	if !ok || time.Since(s.watched) < watchEvery {
		return
	}
	s.watched = time.Now()
	notes := k.Watch(ctx, s.inside(p, "inside"), s.wellSince)
	s.note(func(st *Status) { st.Notes = notes })
}

// digestOf tells projects apart.
func digestOf(p *kind.Project) string {
	h := sha256.New()
	h.Write(p.Compose)
	h.Write(p.Env)
	for _, f := range p.Files {
		fmt.Fprintf(h, "%s %d\n", f.Path, len(f.Content))
		h.Write(f.Content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// missing are the images that the daemon does not have, each once.
func (s *stack) missing(ctx context.Context, p *kind.Project) ([]kind.Image, error) {
	var out []kind.Image
	seen := make(map[string]bool)
	for _, name := range serviceNames(p) {
		i := p.Services[name].Image
		if seen[i.Ref()] {
			continue
		}
		seen[i.Ref()] = true
		_, err := s.docker.Image(ctx, i.Ref())
		switch {
		case errors.Is(err, docker.ErrNotFound):
			out = append(out, i)
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

// pin notes what the tags of a project mean today, so that they mean the same
// tomorrow, and returns the project with it.
func (s *stack) pin(ctx context.Context, p *kind.Project) (*kind.Project, error) {
	pinned := make(map[string]kind.Image, len(p.Services))
	for name, v := range p.Services {
		i := v.Image.Bare()
		if i.Digest == "" {
			have, err := s.docker.Image(ctx, i.Ref())
			if err != nil {
				return nil, err
			}
			i.Digest = digestIn(have.Digests, i.Repository)
		}
		pinned[name] = i
	}
	if err := s.noteImages(pinned); err != nil {
		return nil, err
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
