package stacks

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// Pull is how far an image is fetched.
type Pull struct {
	Image       string
	Number, Of  int       // it is the n-th of so many
	Done, Total int64     // bytes, of the layers that are known
	Began       time.Time // when the first byte came
}

// Left is how long the rest of the image takes at the rate so far; 0: not known.
func (p Pull) Left(now time.Time) time.Duration {
	took := now.Sub(p.Began)
	if p.Done <= 0 || p.Total <= p.Done || took < time.Second {
		return 0
	}
	return time.Duration(float64(took) / float64(p.Done) * float64(p.Total-p.Done)).Round(time.Second)
}

// fetchAgain is how long to wait after a line that broke before it is gone on.
const fetchAgain = 2 * time.Second

// fetch fetches images, one after the other: what is complete stays, however the
// rest goes. As long as something comes, a broken line is no failure.
func (s *stack) fetch(ctx context.Context, images []kind.Image) error {
	defer s.note(func(st *Status) { st.Pull = nil })
	for n, i := range images {
		s.log.Info("fetching an image", "image", i.Ref())
		for {
			came, err := s.fetchOne(ctx, i, Pull{Image: i.Ref(), Number: n + 1, Of: len(images)})
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p := pullProblem(i, err)
			if p.Code != RegistryDown || !came {
				return p
			}
			s.log.Warn("fetching goes on", "image", i.Ref(), "after", err)
			pause.For(ctx, fetchAgain)
		}
	}
	return nil
}

// fetchOne reports whether anything came.
func (s *stack) fetchOne(ctx context.Context, i kind.Image, show Pull) (came bool, err error) {
	show.Began = time.Now()
	err = s.docker.Pull(ctx, i.Repository, cmp.Or(i.Digest, i.Tag), func(f docker.Fetched) {
		came = came || f.Done > 0
		show.Done, show.Total = f.Done, f.Total
		now := show
		s.note(func(st *Status) { st.Pull = &now })
	})
	return came, err
}

func pullProblem(i kind.Image, err error) *Problem {
	switch {
	case errors.Is(err, docker.ErrDown):
		return daemonProblem(err, true)
	case errors.Is(err, docker.ErrNotFound):
		return problem(ImageMissing, noSuchImage, "%s does not exist in the registry", i.Ref())
	}
	p := cliProblem("fetch "+i.Ref(), []byte(err.Error()))
	if p.Code == ImageMissing {
		p.What = i.Ref() + " does not exist in the registry"
	}
	return p
}
