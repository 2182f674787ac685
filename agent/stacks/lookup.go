package stacks

import (
	"context"
	"maps"
	"slices"
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
