package stacks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/disk"
)

// phase is how far an update is. What is done in a phase is begun only after the
// phase is on disk.
type phase string

const (
	fetching  phase = "fetching"   // nothing is changed yet
	backingUp phase = "backing up" // stopped, and not changed
	switching phase = "switching"  // new images may have changed the data
	goingBack phase = "going back"
	committed phase = "committed" // ready with the new images
)

// transaction is an update that is under way. Its file outlives a crash, and stays
// until the update has ended or the way back was gone and proved.
type transaction struct {
	ID     string                `json:"id"`
	Stack  string                `json:"stack"`
	From   map[string]kind.Image `json:"from"`
	To     map[string]kind.Image `json:"to"`
	Phase  phase                 `json:"phase"`
	Backup string                `json:"backup"`        // folder; empty before it is complete
	Why    string                `json:"why,omitempty"` // it goes back
}

func (s *stack) transactionFile() string {
	return filepath.Join(s.opts.Dir, "update-"+s.name+".json")
}

// save has the transaction on disk when it returns.
func (s *stack) save(t *transaction) error {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("stacks: %w", err)
	}
	if err := durable.WriteFile(s.transactionFile(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("stacks: note the update: %w", err)
	}
	s.step(string(t.Phase))
	return nil
}

// forget ends the transaction.
func (s *stack) forget() error {
	if err := os.Remove(s.transactionFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stacks: %w", err)
	}
	return durable.SyncDir(s.opts.Dir)
}

// recover ends an update that was left in the middle: what was committed is
// finished, everything else goes back. The folder of the stack says which images its
// data belong to, also when it came out of a backup.
func (s *stack) recover(ctx context.Context) error {
	var t transaction
	found, err := durable.ReadJSON(s.transactionFile(), &t)
	if err != nil {
		return problem(Failed, "move the file away when the stack is as it should be", "%s cannot be read: %v", s.transactionFile(), err)
	}
	if !found {
		return s.adoptImages()
	}
	if t.Phase == committed {
		_, err = s.finish(&t)
		return err
	}
	s.log.Warn("an update was interrupted", "phase", t.Phase)
	s.note(func(st *Status) { st.State = Updating })
	_, err = s.back(ctx, &t, fmt.Errorf("it was interrupted while %s", t.Phase))
	return err
}

// imagesFile says which images a stack's data belong to. It is in the stack's own
// folder, so that it goes where the data go.
const imagesFile = "images.json"

// noteImages notes which images run.
func (s *stack) noteImages(to map[string]kind.Image) error {
	data, err := json.MarshalIndent(to, "", "  ")
	if err != nil {
		return fmt.Errorf("stacks: %w", err)
	}
	data = append(data, '\n')
	path := filepath.Join(s.dir(), imagesFile)
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, data) {
		if err := errors.Join(os.MkdirAll(s.dir(), 0o700), durable.WriteFile(path, data, 0o600)); err != nil {
			return fmt.Errorf("stacks: note the images: %w", err)
		}
	}
	if maps.Equal(s.store.get().Images[s.name], to) {
		return nil
	}
	return s.store.change(func(n *noted) { n.Images[s.name] = to })
}

// adoptImages notes what the stack's folder says of its images.
func (s *stack) adoptImages() error {
	var to map[string]kind.Image
	found, err := durable.ReadJSON(filepath.Join(s.dir(), imagesFile), &to)
	if err != nil {
		return fmt.Errorf("stacks: %s: %w", imagesFile, err)
	}
	if !found {
		return nil
	}
	return s.noteImages(to)
}

// keepBackups is how many backups of a stack are kept.
const keepBackups = 2

func (s *stack) backups() string { return filepath.Join(s.opts.Dir, "backups", s.name) }

// backUp copies all that the stack has, while it stands still; before that it
// writes its data out in a form that other versions can read, too.
func (s *stack) backUp(ctx context.Context, t *transaction, p *kind.Project) error {
	dir := filepath.Join(s.backups(), t.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("stacks: backup: %w", err)
	}
	if err := s.enoughFor(ctx); err != nil {
		return err
	}
	in := s.inside(p, "inside")
	if k, ok := s.kind().(kind.Holder); ok {
		s.step("holding")
		if err := k.Hold(ctx, in, true); err != nil {
			return err
		}
	}
	s.step("dumping")
	if err := s.dump(ctx, in, filepath.Join(dir, "database.sql")); err != nil {
		return err
	}
	s.step("stopping")
	if err := s.compose(ctx, composeCall{args: []string{"stop"}}); err != nil {
		return err
	}
	if err := s.provedStopped(ctx); err != nil {
		return err
	}
	s.step("copying")
	const script = `rm -rf "$2/files"; cp -a --reflink=auto "$1" "$2/files"; sync -f "$2/files"`
	if err := s.shell(ctx, "backup", script, s.dir(), dir); err != nil {
		return err
	}
	t.Backup = dir
	return nil
}

// dumpSize remembers how large what was written out is.
type dumpSize struct {
	Bytes   int64 `json:"bytes"`
	Refused int64 `json:"refused,omitempty"` // of one that was too small
}

// shrunk reports whether a dump is absurd beside the last one: a tenth of it. The
// second one of about that size is taken: somebody has really removed so much.
func (d dumpSize) shrunk(bytes int64) bool {
	again := d.Refused > 0 && bytes >= d.Refused-d.Refused/4 && bytes <= d.Refused+d.Refused/4
	return bytes*10 < d.Bytes && !again
}

// dump writes the stack's data out. What does not end as it should is no dump.
func (s *stack) dump(ctx context.Context, in kind.Inside, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("stacks: backup: %w", err)
	}
	err = s.kind().Dump(ctx, in, f)
	size, sizeErr := f.Seek(0, 2)
	if errors.Is(err, kind.ErrNoDump) {
		return errors.Join(f.Close(), os.Remove(path))
	}
	if err := errors.Join(err, sizeErr, f.Sync(), f.Close()); err != nil {
		return err
	}
	last := s.store.get().Dumps[s.name]
	if last.shrunk(size) {
		err := problem(Failed, "look whether data are missing; if so much was really removed, the next try of about this size is taken",
			"what the database writes out has %d bytes, and the last time it had %d", size, last.Bytes)
		return errors.Join(err, s.store.change(func(n *noted) { n.Dumps[s.name] = dumpSize{last.Bytes, size} }))
	}
	return s.store.change(func(n *noted) { n.Dumps[s.name] = dumpSize{Bytes: size} })
}

// enoughFor reports when a copy of the stack would not fit.
func (s *stack) enoughFor(ctx context.Context) error {
	r, err := s.opts.Runner.Run(ctx, runner.Command{Name: "sae-agent-stacks-" + s.name + "-size", Argv: []string{"du", "--summarize", "--block-size=1", s.dir()}})
	if err != nil {
		return fmt.Errorf("stacks: size of %s: %w", s.dir(), err)
	}
	var size int64
	if _, err := fmt.Sscan(string(r.Stdout), &size); err != nil {
		return fmt.Errorf("stacks: size of %s: %s", s.dir(), r.Stderr)
	}
	free, err := disk.Free(s.opts.Dir)
	if err != nil {
		return err
	}
	if free < 2*size+keepFree { // the copy, and one more on the way back
		return problem(DiskFull, "make room; an update without a backup is not made",
			"a backup and the way back need %d MB, and %s has %d MB free of which %d MB are kept", 2*size/1_000_000, s.opts.Dir, free/1_000_000, int64(keepFree/1_000_000))
	}
	return nil
}

// restore makes the stack's files those of the backup. Nothing is touched while a
// container may still use them. Done again after a crash at any point it ends the
// same.
func (s *stack) restore(ctx context.Context, t *transaction) error {
	s.step("taking down")
	if err := s.compose(ctx, composeCall{args: []string{"down", "--remove-orphans"}}); err != nil {
		return err
	}
	if err := s.provedStopped(ctx); err != nil {
		return err
	}
	s.step("restoring")
	// The project's file must be there for the next 'down', wherever this is cut off.
	const script = `
if [ -e "$1" ] || [ ! -e "$1.restored" ]; then
	rm -rf "$1.restored"
	cp -a --reflink=auto "$2/files" "$1.restored.part"
	sync -f "$1.restored.part"
	mv -T "$1.restored.part" "$1.restored"
fi
rm -rf "$1.failed"
if [ -e "$1" ]; then mv -T "$1" "$1.failed"; fi
mv -T "$1.restored" "$1"
sync -f "$1"
rm -rf "$1.failed"`
	if err := s.shell(ctx, "restore", "rm -rf \"$1.restored.part\"\n"+script, s.dir(), t.Backup); err != nil {
		return err
	}
	s.hashes.digest = ""
	return nil
}

// shell runs a script with the rights of root, which containers' files need.
func (s *stack) shell(ctx context.Context, name, script string, args ...string) error {
	argv := append([]string{"/bin/sh", "-euc", script, "sh"}, args...)
	r, err := s.opts.Runner.Run(ctx, runner.Command{Name: "sae-agent-stacks-" + s.name + "-" + name, Argv: argv})
	if err != nil {
		return fmt.Errorf("stacks: %s: %w", name, err)
	}
	if r.Exit != 0 {
		return cliProblem(name, r.Stderr)
	}
	return nil
}

// tidy removes old backups, and images that are two updates old. What cannot be
// removed is in nobody's way.
func (s *stack) tidy(t *transaction, old map[string]kind.Image) {
	ctx := context.Background()
	entries, err := os.ReadDir(s.backups())
	if err == nil && len(entries) > keepBackups {
		for _, e := range entries[:len(entries)-keepBackups] { // sorted by name, which is the time
			_ = s.shell(ctx, "tidy", `rm -rf "$1"`, filepath.Join(s.backups(), e.Name()))
		}
	}
	var kept []string
	for _, images := range []map[string]kind.Image{t.From, t.To} {
		for _, i := range images {
			kept = append(kept, i.Ref())
		}
	}
	for _, i := range old {
		if ref := i.Ref(); !slices.Contains(kept, ref) {
			_, _ = s.cli.run(ctx, s.name+"-tidy", runner.Command{}, "image", "rm", ref)
		}
	}
}
