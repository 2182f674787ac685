package stacks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

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
				// Tag and digest are those that run; where they come from is as configured now.
				i.Repository, i.SizeMB = services[name].Repository, services[name].SizeMB
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
	if err := s.up(ctx, p, sick); err != nil {
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
func (s *stack) up(ctx context.Context, p *project.Project, sick []string) error {
	if len(sick) > 0 { // up leaves alone what runs
		if err := s.compose(ctx, composeCall{args: append([]string{"restart", "--no-deps"}, sick...)}); err != nil {
			return err
		}
	}
	if err := s.compose(ctx, composeCall{args: []string{
		"up", "--detach", "--remove-orphans", "--wait", "--wait-timeout", fmt.Sprint(int(s.opts.Patience.Seconds())),
	}}); err != nil {
		return err
	}
	return s.reallyUp(ctx, p)
}

// reallyUp looks itself: when the time of --wait-timeout is over, Compose sometimes
// says that all is well.
func (s *stack) reallyUp(ctx context.Context, p *project.Project) error {
	have, err := s.docker.Containers(ctx, s.project())
	if err != nil {
		return err
	}
	if todo, _ := judge(p.Services, have); todo == nothing {
		return nil
	}
	var down []string
	for _, v := range serviceStatus(p.Services, have) {
		if !v.Up {
			down = append(down, v.Name)
		}
	}
	return problem(Unhealthy, "'sae-agent stacks logs' shows what it says", "%s not healthy after %v", strings.Join(down, ", "), s.opts.Patience)
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
