package stacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

// phase is how far an update is. What is done in a phase is begun only after the
// phase is on disk.
type phase string

const (
	fetching  phase = "fetching"   // nothing is changed yet
	backingUp phase = "backing up" // stopped, and not changed
	switching phase = "switching"  // new images may have changed the data
	goingBack phase = "going back"
	committed phase = "committed" // healthy with the new images
)

// transaction is an update that is under way. Its file outlives a crash.
type transaction struct {
	ID     string                   `json:"id"`
	Stack  string                   `json:"stack"`
	From   map[string]project.Image `json:"from"`
	To     map[string]project.Image `json:"to"`
	Phase  phase                    `json:"phase"`
	Backup string                   `json:"backup"` // folder; empty before there is one
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
	return nil
}

// forget ends the transaction.
func (s *stack) forget() error {
	if err := os.Remove(s.transactionFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stacks: %w", err)
	}
	return durable.SyncDir(s.opts.Dir)
}

// recover ends an update that an earlier daemon has left in the middle: what was
// committed is finished, everything else goes back.
func (s *stack) recover(ctx context.Context) error {
	data, err := os.ReadFile(s.transactionFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var t transaction
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil {
		return problem(Failed, "move the file away when the stack is as it should be", "%s cannot be read: %v", s.transactionFile(), err)
	}
	s.log.Warn("an update was interrupted", "phase", t.Phase)
	if t.Phase == committed {
		_, err = s.finish(&t)
		return err
	}
	s.note(func(st *Status) { st.State = Updating })
	_, err = s.back(ctx, &t, fmt.Errorf("it was interrupted while %s", t.Phase))
	return err
}

// keepBackups is how many backups of a stack are kept.
const keepBackups = 2

func (s *stack) backups() string { return filepath.Join(s.opts.Dir, "backups", s.name) }

// backUp copies all that the stack has, while it stands still; before that it
// writes the database out, which other versions can read, too.
func (s *stack) backUp(ctx context.Context, t *transaction) error {
	dir := filepath.Join(s.backups(), t.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("stacks: backup: %w", err)
	}
	if err := s.enoughFor(ctx); err != nil {
		return err
	}
	if s.name == project.Nextcloud {
		if err := s.maintenance(ctx, true); err != nil {
			return err
		}
		if err := s.dump(ctx, filepath.Join(dir, "database.sql")); err != nil {
			return err
		}
	}
	if err := s.compose(ctx, composeCall{args: []string{"stop"}}); err != nil {
		return err
	}
	const script = `rm -rf "$2/files"; cp -a --reflink=auto "$1" "$2/files"; sync -f "$2/files"`
	if err := s.shell(ctx, "backup", script, s.dir(), dir); err != nil {
		return err
	}
	t.Backup = dir
	return s.save(t)
}

// dump writes the database out. The password stays in the container.
func (s *stack) dump(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("stacks: backup: %w", err)
	}
	const script = `MYSQL_PWD=$MARIADB_PASSWORD exec mariadb-dump --single-transaction --default-character-set=utf8mb4 -h 127.0.0.1 -u "$MARIADB_USER" "$MARIADB_DATABASE"`
	err = s.compose(ctx, composeCall{args: []string{"exec", "-T", "mariadb", "sh", "-c", script}, stdout: f, name: "dump"})
	return errors.Join(err, f.Sync(), f.Close())
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
	free, err := freeSpace(s.opts.Dir)
	if err != nil {
		return err
	}
	if free < 2*size+keepFree { // the copy, and one more on the way back
		return problem(DiskFull, "make room; an update without a backup is not made",
			"a backup and the way back need %d MB, and %s has %d MB free of which %d MB are kept", 2*size/1_000_000, s.opts.Dir, free/1_000_000, int64(keepFree/1_000_000))
	}
	return nil
}

// restore makes the stack's files those of the backup. Done again after a crash at
// any point it ends the same.
func (s *stack) restore(ctx context.Context, t *transaction) error {
	if err := s.compose(ctx, composeCall{args: []string{"down", "--remove-orphans"}}); err != nil {
		s.log.Warn("taking the new containers down", "err", err) // their data are replaced all the same
	}
	const script = `
rm -rf "$1.restored" "$1.failed"
cp -a --reflink=auto "$2/files" "$1.restored"
sync -f "$1.restored"
if [ -e "$1" ]; then mv -T "$1" "$1.failed"; fi
mv -T "$1.restored" "$1"
sync -f "$1"
rm -rf "$1.failed"`
	return s.shell(ctx, "restore", script, s.dir(), t.Backup)
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
func (s *stack) tidy(t *transaction, old map[string]project.Image) {
	ctx := context.Background()
	entries, err := os.ReadDir(s.backups())
	if err == nil && len(entries) > keepBackups {
		for _, e := range entries[:len(entries)-keepBackups] { // sorted by name, which is the time
			_ = s.shell(ctx, "tidy", `rm -rf "$1"`, filepath.Join(s.backups(), e.Name()))
		}
	}
	var kept []string
	for _, images := range []map[string]project.Image{t.From, t.To} {
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
