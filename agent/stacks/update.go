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

	"github.com/sae-agent/sae-agent/agent/stacks/project"
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
// makes the containers anew and waits until they are healthy; otherwise images and
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
	if state := st.current().State; state != Healthy {
		return Record{}, fmt.Errorf("%w: %s is %s, and only what is healthy is updated", ErrBusy, name, state)
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

// change goes over to new images. The caller holds work.
func (s *stack) change(ctx context.Context, found map[string]project.Image) (Record, error) {
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
	return s.back(ctx, t, err)
}

// forward goes through an update's phases up to the last.
func (s *stack) forward(ctx context.Context, t *transaction) error {
	for _, i := range t.To {
		if p := s.cli.pull(ctx, s.name, i.Ref()); p != nil {
			return p
		}
	}
	t.Phase = backingUp
	if err := errors.Join(s.save(t), s.backUp(ctx, t)); err != nil {
		return err
	}
	t.Phase = switching
	if err := s.save(t); err != nil {
		return err
	}
	if err := s.switchTo(ctx, t.To); err != nil {
		return err
	}
	if err := s.proveHealthy(ctx); err != nil {
		return err
	}
	t.Phase = committed
	return s.save(t)
}

// switchTo brings the project up with other images, whatever it is now.
func (s *stack) switchTo(ctx context.Context, images map[string]project.Image) error {
	if err := s.store.change(func(n *noted) { n.Images[s.name] = bare(images) }); err != nil {
		return err
	}
	p, err := s.render(s.images())
	if err != nil {
		return err
	}
	if err := writeProject(s.dir(), p); err != nil {
		return fmt.Errorf("stacks: write the project: %w", err)
	}
	if err := s.up(ctx, p, nil); err != nil {
		return err
	}
	return s.store.change(func(n *noted) { n.Applied[s.name] = digestOf(p) })
}

// bare are images without what is only known of pinned ones.
func bare(images map[string]project.Image) map[string]project.Image {
	out := make(map[string]project.Image, len(images))
	for name, i := range images {
		i.SizeMB = 0
		out[name] = i
	}
	return out
}

// proveHealthy asks the stack itself, after its checks have passed.
func (s *stack) proveHealthy(ctx context.Context) error {
	if s.name != project.Nextcloud {
		return nil
	}
	if err := s.maintenance(ctx, false); err != nil {
		return err
	}
	st, err := s.cloudStatus(ctx)
	if err != nil {
		return err
	}
	if !st.Installed || st.Maintenance {
		return problem(Unhealthy, "'sae-agent stacks logs nextcloud' shows what it says", "Nextcloud is not ready after the update: installed %t, maintenance %t", st.Installed, st.Maintenance)
	}
	return nil
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
	s.setUp = "" // the new version may need it again
	s.tidy(t, old)
	return r, nil
}

// back makes images and data what they were before an update that failed.
func (s *stack) back(ctx context.Context, t *transaction, why error) (Record, error) {
	s.log.Warn("update failed, going back", "phase", t.Phase, "err", why)
	r := s.record(t, Abandoned, why.Error())
	var err error
	switch t.Phase {
	case backingUp:
		// A half-made backup is none.
		err = s.shell(ctx, "tidy", `rm -rf "$1"`, filepath.Join(s.backups(), t.ID))
		r.Backup = ""
	case switching, goingBack:
		r.Outcome = RolledBack
		t.Phase = goingBack
		err = errors.Join(s.save(t), s.restore(ctx, t))
	}
	if err == nil {
		err = s.switchTo(ctx, t.From)
	}
	if err == nil {
		err = s.proveHealthy(ctx)
	}
	if ctx.Err() != nil {
		return r, ctx.Err() // the next start does it again
	}
	if err != nil {
		r.Outcome, r.Detail = Broken, r.Detail+"; and the way back failed: "+err.Error()
	}
	if failed := s.store.change(func(n *noted) { n.add(r) }); failed != nil {
		return r, failed
	}
	if r.Outcome == Broken && t.Phase == goingBack {
		return r, err // the transaction stays, and is tried again at the next look
	}
	if failed := s.forget(); failed != nil {
		return r, failed
	}
	s.note(func(st *Status) { st.State, st.Problem = Healthy, nil })
	return r, nil
}

func (s *stack) record(t *transaction, o Outcome, detail string) Record {
	r := Record{Time: s.opts.Now(), Stack: s.name, Outcome: o, Detail: detail, From: make(map[string]string), To: make(map[string]string), Backup: t.Backup}
	for name, i := range t.To {
		if i != t.From[name] {
			r.From[name], r.To[name] = t.From[name].Ref(), i.Ref()
		}
	}
	return r
}

func refs(images map[string]project.Image) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(images)) {
		out = append(out, images[name].Ref())
	}
	return strings.Join(out, " ")
}
