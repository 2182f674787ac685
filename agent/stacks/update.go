package stacks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/versions"
)

// Outcome says how an update ended.
type Outcome string

// Outcomes.
const (
	Updated    Outcome = "updated"
	RolledBack Outcome = "rolled back" // the old images and data are back
	Abandoned  Outcome = "abandoned"   // nothing was changed
	Broken     Outcome = "broken"      // the way back failed, too
)

// Record is an update that was tried.
type Record struct {
	ID      string            `json:"id,omitempty"`
	Time    time.Time         `json:"time"` // of its end
	Stack   string            `json:"stack"`
	Outcome Outcome           `json:"outcome"`
	From    map[string]string `json:"from"` // image of each service that was to change
	To      map[string]string `json:"to"`
	Detail  string            `json:"detail,omitempty"` // why it was not made
	Backup  string            `json:"backup,omitempty"` // folder
}

// History returns the updates that were tried, newest last.
func (s *Service) History() []Record { return s.store.get().History }

// Update looks for newer images and goes over to them: it fetches them, backs up,
// recreates the containers and waits until they are healthy; otherwise images and
// data become what they were. A record with outcome Updated and no images means
// that nothing was newer.
func (s *Service) Update(ctx context.Context, name string, step versions.Step) (Record, error) {
	st, err := s.get(name)
	if err != nil {
		return Record{}, err
	}
	if !st.enabled() {
		return Record{}, ErrDisabled
	}
	ctx, cancel, err := s.lasting(ctx)
	if err != nil {
		return Record{}, err
	}
	defer cancel()
	if err := st.begin(ctx); err != nil {
		return Record{}, err
	}
	defer st.end()
	if err := st.usable(ctx); err != nil {
		return Record{}, err
	}
	if err := st.recover(ctx); err != nil {
		return Record{}, err
	}
	if err := st.updatable(); err != nil {
		return Record{}, err
	}
	found, err := s.Available(ctx, name, step)
	if err != nil {
		return Record{}, err
	}
	if len(found) == 0 {
		return Record{Time: s.opts.Now(), Stack: name, Outcome: Updated}, nil
	}
	return st.change(ctx, found)
}

func (s *stack) updatable() error {
	if state := s.current().State; state != Healthy {
		return fmt.Errorf("%w: %s is %s, and only what is healthy is updated", ErrBusy, s.name, state)
	}
	return nil
}

// takeImages goes over to images that Docker has been given, such as those out of a
// bundle: at once where nothing was ever up, else as an update does.
func (s *stack) takeImages(ctx context.Context, names []string) error {
	ctx, cancel, err := s.lasting(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if err := s.usable(ctx); err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	found := make(map[string]kind.Image)
	for service, i := range s.services() {
		for _, to := range s.loaded(names) {
			if to.Repository == i.Repository {
				found[service] = to
			}
		}
	}
	for have, i := range s.loaded(names) { // under the name that the configuration has for it
		if r, err := s.cli.run(ctx, s.name+"-tag", runner.Command{}, "image", "tag", have, i.Ref()); err != nil || r.Exit != 0 {
			return errors.Join(err, cliProblem("name the image "+have, r.Stderr))
		}
	}
	if _, up := s.store.get().Applied[s.name]; !up {
		to := bare(s.services())
		maps.Copy(to, found)
		return s.noteImages(to)
	}
	maps.DeleteFunc(found, func(name string, i kind.Image) bool { return s.services()[name].Tag == i.Tag })
	if len(found) == 0 {
		return nil
	}
	if err := s.updatable(); err != nil {
		return err
	}
	r, err := s.change(ctx, found)
	if err == nil && r.Outcome != Updated {
		err = problem(Failed, "'sae-agent stacks history' says more", "the images of the bundle were not taken: %s", r.Detail)
	}
	return err
}

// loaded are those of the names, such as docker.io/library/mariadb:11.4.8 or
// mariadb:11.4.8 as Docker shortens it, that are images of this stack, each with
// what the configuration has for it.
func (s *stack) loaded(names []string) map[string]kind.Image {
	out := make(map[string]kind.Image)
	for _, i := range s.services() {
		for _, n := range names {
			at := strings.LastIndexByte(n, ':')
			if at < 0 {
				continue
			}
			if repo := n[:at]; strings.HasSuffix("/"+repo, "/"+i.Path()) || repo == strings.TrimPrefix(i.Path(), "library/") {
				out[n] = kind.Image{Repository: i.Repository, Tag: n[at+1:]}
			}
		}
	}
	return out
}

// change goes over to new images. The caller holds work.
func (s *stack) change(ctx context.Context, found map[string]kind.Image) (Record, error) {
	from := s.services()
	to := maps.Clone(from)
	maps.Copy(to, found)
	t := &transaction{ID: s.opts.Now().UTC().Format("20060102T150405Z"), Stack: s.name, From: from, To: to, Phase: fetching}
	if err := s.save(t); err != nil {
		return Record{}, err
	}
	s.note(func(st *Status) { st.State = Updating })
	s.log.Info("update begins", "to", refs(found))
	err := s.forward(ctx, t)
	if err == nil {
		return s.finish(t)
	}
	if ctx.Err() != nil { // the next start goes on from what is noted
		return Record{}, ctx.Err()
	}
	r, err := s.back(ctx, t, err)
	var p *Problem
	switch {
	case err == nil || ctx.Err() != nil:
		return r, err
	case !errors.As(err, &p):
		p = problem(Failed, "it is tried again by itself", "%v", err)
	}
	s.failed(p)
	return r, err
}

// forward goes through an update's phases up to the last.
func (s *stack) forward(ctx context.Context, t *transaction) error {
	p, err := s.render(s.images())
	if err != nil {
		return err
	}
	next, err := s.render(maps.Clone(t.To))
	if err != nil {
		return err
	}
	missing, err := s.missing(ctx, next)
	if err == nil {
		err = s.room(ctx, next, missing)
	}
	if err == nil {
		err = s.fetch(ctx, missing)
	}
	if err != nil {
		return err
	}
	t.Phase = backingUp
	if err := s.save(t); err != nil {
		return err
	}
	if err := s.backUp(ctx, t, p); err != nil {
		return err
	}
	t.Phase = switching
	if err := s.save(t); err != nil {
		return err
	}
	if err := s.switchTo(ctx, t.To); err != nil {
		return err
	}
	t.Phase = committed
	return s.save(t)
}

// switchTo brings the project up with other images, whatever it is now, and proves
// that it is ready.
func (s *stack) switchTo(ctx context.Context, to map[string]kind.Image) error {
	if err := s.noteImages(bare(to)); err != nil {
		return err
	}
	p, err := s.render(s.images())
	if err != nil {
		return err
	}
	if _, err := writeProject(s.dir(), p); err != nil {
		return fmt.Errorf("stacks: write the project: %w", err)
	}
	if err := s.up(ctx, p, nil); err != nil {
		return err
	}
	s.step("proving")
	if err := s.untilReady(ctx, p, s.opts.Proving, true); err != nil {
		return s.withExcerpt(ctx, p, err)
	}
	return s.applied(digestOf(p))
}

// bare are images without what is only known of pinned ones.
func bare(images map[string]kind.Image) map[string]kind.Image {
	out := make(map[string]kind.Image, len(images))
	for name, i := range images {
		out[name] = i.Bare()
	}
	return out
}

// finish ends an update that is committed.
func (s *stack) finish(t *transaction) (Record, error) {
	r := s.record(t, Updated, "")
	old := s.store.get().Previous[s.name]
	err := s.store.change(func(n *noted) {
		n.Previous[s.name] = bare(t.From)
		n.add(r)
	})
	if err == nil {
		err = s.forget()
	}
	if err != nil {
		return r, err
	}
	s.note(func(st *Status) { st.State, st.Problem, st.Available = Healthy, nil, nil })
	s.log.Info("updated", "to", refs(t.To))
	s.setUp = false // the new version may need it again
	s.forgetExtras()
	s.tidy(t, old)
	return r, nil
}

// back makes images and data what they were before an update that failed. Only when
// that was done and proved does the transaction end; otherwise it is done again.
func (s *stack) back(ctx context.Context, t *transaction, why error) (Record, error) {
	if t.Why == "" {
		t.Why = why.Error()
	}
	s.log.Warn("update failed, going back", "phase", t.Phase, "err", why)
	r := s.record(t, Abandoned, t.Why)
	if t.Phase == switching || t.Phase == goingBack {
		r.Outcome, t.Phase = RolledBack, goingBack
	} else {
		r.Backup = ""
	}
	err := s.save(t)
	switch {
	case err != nil:
	case t.Phase == goingBack:
		err = s.restore(ctx, t)
	case t.Phase == backingUp: // a half-made backup is none
		err = s.shell(ctx, "tidy", `rm -rf "$1"`, filepath.Join(s.backups(), t.ID))
	}
	if err == nil {
		err = s.switchTo(ctx, t.From)
	}
	if ctx.Err() != nil {
		return r, ctx.Err() // the next start does it again
	}
	if err != nil {
		r.Outcome, r.Detail = Broken, r.Detail+"; and the way back failed, which is tried again: "+err.Error()
		return r, errors.Join(err, s.store.change(func(n *noted) { n.add(r) }))
	}
	if err := s.store.change(func(n *noted) { n.add(r) }); err != nil {
		return r, err
	}
	if err := s.forget(); err != nil {
		return r, err
	}
	s.note(func(st *Status) { st.State, st.Problem = Healthy, nil })
	return r, nil
}

func (s *stack) record(t *transaction, o Outcome, detail string) Record {
	r := Record{ID: t.ID, Time: s.opts.Now(), Stack: s.name, Outcome: o, Detail: detail, From: make(map[string]string), To: make(map[string]string), Backup: t.Backup}
	for name, i := range t.To {
		if i != t.From[name] {
			r.From[name], r.To[name] = t.From[name].Ref(), i.Ref()
		}
	}
	return r
}

func refs(images map[string]kind.Image) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(images)) {
		out = append(out, images[name].Ref())
	}
	return strings.Join(out, " ")
}
