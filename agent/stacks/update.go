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

// Policy says which updates are made without being asked for.
type Policy string

// Policies.
const (
	PolicyPatch  Policy = "patch"  // mended errors, and tags that mean something new
	PolicyMinor  Policy = "minor"  // new versions with the same data, too
	PolicyNotify Policy = "notify" // none: they are only shown
)

// UpdateConfig is when and how far stacks are updated by themselves.
type UpdateConfig struct {
	Policy Policy
	// Off: never by themselves. Else between these times of the day, in minutes; the
	// end may be before the beginning.
	Off        bool
	Start, End int
}

func (c UpdateConfig) step() versions.Step {
	if c.Policy == PolicyMinor || c.Policy == PolicyNotify {
		return versions.Minor
	}
	return versions.Patch
}

// in reports whether updates are made at this time.
func (c UpdateConfig) in(t time.Time) bool {
	if c.Off || c.Policy == PolicyNotify {
		return false
	}
	m := t.Hour()*60 + t.Minute()
	if c.Start <= c.End {
		return m >= c.Start && m < c.End
	}
	return m >= c.Start || m < c.End
}

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

// lookEvery is how often registries are asked for new versions.
const lookEvery = 24 * time.Hour

// due decides whether to look for updates now, and whether to make what is found:
// it is looked once in a day's window, and otherwise when the last look is a day old.
func (c UpdateConfig) due(now, looked time.Time) (look, update bool) {
	if c.Off && c.Policy != PolicyNotify {
		return false, false
	}
	age := now.Sub(looked)
	if !c.in(now) {
		return age >= lookEvery, false
	}
	inThisWindow := c.in(looked) && age < lookEvery/2
	return !inThisWindow, true
}

// updateByItself looks for updates once a day, and makes them in their window.
func (s *stack) updateByItself(ctx context.Context) {
	cfg := s.config().Update
	now := s.opts.Now()
	look, update := cfg.due(now, s.store.get().Looked[s.name].In(now.Location()))
	if !look || s.current().State != Healthy {
		return
	}
	if err := s.store.change(func(n *noted) { n.Looked[s.name] = now }); err != nil {
		s.log.Error("cannot look for updates", "err", err)
		return
	}
	if update && !s.failedBefore(ctx, cfg.step()) {
		if _, err := s.Update(ctx, s.name, cfg.step()); err != nil {
			s.log.Warn("update", "err", err)
		}
		return
	}
	if _, err := s.Available(ctx, s.name, cfg.step()); err != nil {
		s.log.Warn("looking for updates", "err", err)
	}
}

// failedBefore reports whether what an update would bring was tried last time and
// did not work: a person must look, not the next night.
func (s *stack) failedBefore(ctx context.Context, step versions.Step) bool {
	found, err := s.find(ctx, step)
	if err != nil {
		return false // Update says so
	}
	for _, r := range slices.Backward(s.History()) {
		if r.Stack != s.name {
			continue
		}
		same := r.Outcome == RolledBack || r.Outcome == Broken
		for service, i := range found {
			same = same && r.To[service] == i.Ref()
		}
		return same && len(found) > 0
	}
	return false
}

// Available asks the registries what an update would bring, by service.
func (s *Service) Available(ctx context.Context, name string, step versions.Step) (map[string]project.Image, error) {
	st, err := s.get(name)
	if err != nil {
		return nil, err
	}
	if !st.enabled() {
		return nil, ErrDisabled
	}
	found, err := st.find(ctx, step)
	if err != nil {
		return nil, err
	}
	show := make(map[string]string, len(found))
	for service, i := range found {
		show[service] = i.Ref()
	}
	st.note(func(x *Status) { x.Available = show })
	return found, nil
}

// find returns the services' images that are newer than those that run.
func (s *stack) find(ctx context.Context, step versions.Step) (map[string]project.Image, error) {
	current := s.services()
	tags, err := s.tags(ctx, current)
	if err != nil {
		return nil, err
	}
	out := make(map[string]project.Image)
	for name, i := range current {
		next := i
		if tag, ok := versions.Choose(i.Tag, tags[name], s.stepOf(name, step)); ok {
			next.Tag = tag
		}
		if next.Digest, err = s.opts.Registry.Digest(ctx, i.Repository, next.Tag); err != nil {
			return nil, lookupProblem(err)
		}
		if next.Digest != i.Digest {
			out[name] = next
		}
	}
	return out, nil
}

// stepOf keeps the database in its series: its data are migrated for good reasons only.
func (s *stack) stepOf(service string, step versions.Step) versions.Step {
	if service == "mariadb" {
		return versions.Patch
	}
	return step
}

// tags asks for the tags of each service. Jitsi's services are of one release.
func (s *stack) tags(ctx context.Context, images map[string]project.Image) (map[string][]string, error) {
	out := make(map[string][]string, len(images))
	for name, i := range images {
		t, err := s.opts.Registry.Tags(ctx, i.Repository)
		if err != nil {
			return nil, lookupProblem(err)
		}
		out[name] = t
	}
	if s.name == project.Jitsi {
		common := versions.Common(slices.Collect(maps.Values(out))...)
		for name := range out {
			out[name] = common
		}
	}
	return out, nil
}

func lookupProblem(err error) *Problem {
	return problem(RegistryDown, "it is tried again tomorrow; the WAN or the registry may be down", "the registry cannot be asked: %v", err)
}

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
	if err := s.up(ctx, nil); err != nil {
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
