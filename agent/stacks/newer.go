package stacks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/registry"
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

// checkEvery is how often registries are asked for new versions.
const checkEvery = 24 * time.Hour

// due decides whether to look for updates now, and whether to make what is found:
// it is looked once in a day's window, and otherwise when the last look is a day old.
func (c UpdateConfig) due(now, checked time.Time) (check, update bool) {
	if c.Off && c.Policy != PolicyNotify {
		return false, false
	}
	age := now.Sub(checked)
	if !c.in(now) {
		return age >= checkEvery, false
	}
	inThisWindow := c.in(checked) && age < checkEvery/2
	return !inThisWindow, true
}

// updateByItself looks for updates once a day, and makes them in their window.
func (s *stack) updateByItself(ctx context.Context) {
	cfg := s.config().Update
	now := s.opts.Now()
	check, update := cfg.due(now, s.store.get().Checked[s.name].In(now.Location()))
	if !check || s.current().State != Healthy {
		return
	}
	if err := s.store.change(func(n *noted) { n.Checked[s.name] = now }); err != nil {
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
func (s *Service) Available(ctx context.Context, name string, step versions.Step) (map[string]kind.Image, error) {
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
func (s *stack) find(ctx context.Context, step versions.Step) (map[string]kind.Image, error) {
	current := s.services()
	tags, err := s.tags(ctx, current)
	if err != nil {
		return nil, err
	}
	if err := s.noteLines(current, tags); err != nil {
		return nil, err
	}
	out := make(map[string]kind.Image)
	digests := make(map[string]string)
	for name, i := range current {
		next := i
		if tag, ok := versions.Choose(i.Tag, tags[name], stepOf(i, step)); ok {
			next.Tag = tag
		} else if !slices.Contains(tags[name], i.Tag) {
			continue // what runs was withdrawn, which is told; there is nothing to go to
		}
		at := next.Repository + ":" + next.Tag
		if digests[at] == "" {
			if digests[at], err = s.opts.Registry.Digest(ctx, next.Repository, next.Tag); err != nil {
				return nil, lookupProblem(at, err)
			}
		}
		if next.Digest = digests[at]; next.Digest != i.Digest {
			out[name] = next
		}
	}
	return out, nil
}

// stepOf keeps a service in its series where its data are migrated for good reasons
// only.
func stepOf(i kind.Image, step versions.Step) versions.Step {
	if i.Series {
		return versions.Patch
	}
	return step
}

// tags asks for the tags of each service, of each repository once. Services of one
// release have those that all of them have.
func (s *stack) tags(ctx context.Context, images map[string]kind.Image) (map[string][]string, error) {
	known := make(map[string][]string)
	out := make(map[string][]string, len(images))
	var release [][]string
	for name, i := range images {
		if _, ok := known[i.Repository]; !ok {
			t, err := s.opts.Registry.Tags(ctx, i.Repository)
			if err != nil {
				return nil, lookupProblem(i.Repository, err)
			}
			known[i.Repository] = t
		}
		out[name] = known[i.Repository]
		if i.Release {
			release = append(release, out[name])
		}
	}
	common := versions.Common(release...)
	for name, i := range images {
		if i.Release {
			out[name] = common
		}
	}
	return out, nil
}

func lookupProblem(what string, err error) *Problem {
	if errors.Is(err, registry.ErrNotFound) {
		return problem(ImageMissing, noSuchImage, "%s does not exist in the registry", what)
	}
	return problem(RegistryDown, "it is tried again tomorrow; the WAN or the registry may be down", "the registry cannot be asked: %v", err)
}

// noteLines notes how the releases that are followed go on.
func (s *stack) noteLines(current map[string]kind.Image, tags map[string][]string) error {
	now := s.opts.Now()
	return s.store.change(func(n *noted) {
		lines := make(map[string]line)
		for name, i := range current {
			l := n.Lines[s.name][name]
			newest, _ := versions.Choose(i.Tag, tags[name], stepOf(i, versions.Minor))
			if newest == "" || newest != l.Newest {
				l.Newest, l.Seen = newest, now
			}
			l.Gone = newest == i.Tag && !slices.Contains(tags[name], i.Tag)
			l.Major = ""
			if next, ok := versions.Choose(i.Tag, tags[name], versions.Major); ok && next != newest && !i.Series {
				l.Major = next
			}
			lines[name] = l
		}
		n.Lines[s.name] = lines
	})
}

// lineNotes tell of lines of releases that seem to have ended: without newer ones
// there are no mended errors either. The caller holds mu.
func (s *stack) lineNotes() (out []kind.Note) {
	cfg := s.cfg // the caller holds mu
	k := cfg.kind(s.name)
	if k == nil {
		return nil
	}
	now := s.opts.Now()
	lines := s.store.get().Lines[s.name]
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		l, quiet := lines[name], k.Images()[name].Quiet()
		fix := "a newer sae-agent may know another line"
		if l.Major != "" {
			fix = fmt.Sprintf("'sae-agent stacks update %s --major' goes on with %s", s.name, l.Major)
		}
		switch {
		case quiet == 0:
		case l.Gone:
			out = append(out, kind.Note{What: fmt.Sprintf("%s: the tag that runs is no longer in the registry, and there is no newer one of its line", name), Fix: fix})
		case now.Sub(l.Seen) > quiet:
			out = append(out, kind.Note{What: fmt.Sprintf("%s: nothing newer than %s was seen for %d days: its line of releases may have ended", name, l.Newest, int(now.Sub(l.Seen).Hours()/24)), Fix: fix})
		}
	}
	return out
}
