package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/internal/disk"
)

// Backups makes backups of a machine and gives them back, as root and outside of
// the daemon.
type Backups struct {
	StateDir string
	// Trees lists what belongs into a backup. hold has what the daemon uses stand
	// still; nil when giving back.
	Trees func(hold part.HoldFunc) []backup.Tree
	// Run runs programs of the machine to their end.
	Run func(ctx context.Context, c runner.Command) (runner.Result, error)
	// Systemd says that services are systemd's to stop and start.
	Systemd bool
	// Local names entries of an archive that are of use on the machine alone that made
	// it. With Elsewhere they are not given back, and the agent is not started: it is to
	// begin with the file, which is edited before.
	Local     []string
	Elsewhere bool
	// fstab names what is to be mounted; empty: /etc/fstab.
	fstab string
}

// KeyFile is where the machine's own key is.
func (b Backups) KeyFile() string { return filepath.Join(b.StateDir, "backup.key") }

// Create makes a backup, reads it back and returns its path; then all but the
// newest keep are removed. hold has a part that the daemon uses stand still.
func (b Backups) Create(ctx context.Context, dir string, keep int, m backup.Manifest, to []age.Recipient, hold part.HoldFunc) (string, error) {
	if err := b.mounted(dir); err != nil {
		return "", err
	}
	key, _, err := backup.EnsureKey(b.KeyFile())
	if err != nil {
		return "", err
	}
	forget, err := b.dumpDatabase(ctx)
	if err != nil {
		return "", err
	}
	defer forget()
	if err := b.room(dir); err != nil {
		return "", err
	}
	file, err := backup.Create(ctx, dir, m, b.Trees(hold), append(to, key.Recipient())...)
	if err != nil {
		return "", err
	}
	if _, err := backup.Verify(file, key); err != nil {
		return "", errors.Join(err, os.Remove(file))
	}
	return file, backup.Prune(dir, keep)
}

// mounted reports when the disk that is to take the archives is not there: written below its mount point they would
// fill the system's disk, and be hidden by the next mount.
func (b Backups) mounted(dir string) error {
	point, err := disk.Unmounted(dir, cmp.Or(b.fstab, "/etc/fstab"), "/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if point != "" {
		return fmt.Errorf("%s is on the disk of %s in /etc/fstab, which is not mounted: attach it and run 'mount %s', or name another folder with backup.dir", dir, point, point)
	}
	return nil
}

// keepFree is what a backup leaves of its disk.
const keepFree = 1 << 30

// room reports when an archive might not fit: it is made by itself, and a full disk
// stops the telephones.
func (b Backups) room(dir string) error {
	var need int64
	for _, t := range b.Trees(nil) {
		n, err := t.Size()
		if err != nil {
			return err
		}
		need += n
	}
	free, err := disk.Free(dir)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if free < need+keepFree {
		return fmt.Errorf("%s has %d MB free, and a backup may need %d MB besides %d MB that are kept: make room, or name another disk with backup.dir",
			dir, free/1_000_000, need/1_000_000, int64(keepFree)/1_000_000)
	}
	return nil
}

// freePBX is there where this file is.
const freePBX = "/etc/freepbx.conf"

// dumpDatabase writes FreePBX's database beside the state, until forget is called.
func (b Backups) dumpDatabase(ctx context.Context) (forget func(), err error) {
	if _, err := os.Lstat(freePBX); errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	dir := filepath.Join(b.StateDir, databaseDir)
	forget = func() { _ = os.RemoveAll(dir) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, databaseFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		err = b.run(ctx, runner.Command{Name: "sae-agent-backup-database", Argv: []string{"mysqldump", "--single-transaction", freePBXDatabase}, Stdout: f})
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		forget()
		return nil, fmt.Errorf("backup: write FreePBX's database out: %w", err)
	}
	return forget, nil
}

const (
	databaseFile    = "asterisk.sql"
	freePBXDatabase = "asterisk"
)

// run runs a program that must succeed.
func (b Backups) run(ctx context.Context, c runner.Command) error {
	r, err := b.Run(ctx, c)
	if err != nil {
		return err
	}
	if r.Exit != 0 {
		return fmt.Errorf("%s: exit status %d: %s", c.Argv[0], r.Exit, bytes.TrimSpace(r.Stderr))
	}
	return nil
}

func (b Backups) restore() backup.Restore {
	r := backup.Restore{Trees: b.Trees(nil), Journal: filepath.Join(b.StateDir, journalFile), Accept: accept}
	if b.Elsewhere {
		r.Omit = b.Local
	}
	return r
}

// accept refuses a state that this program could not start with.
func accept(tree, dir string) error {
	if tree != stateTree {
		return nil
	}
	err := format.Check(dir)
	var later *format.LaterError
	if errors.As(err, &later) {
		return fmt.Errorf("its state was written by version %s, which this one cannot read: install that version, then restore", later.Version)
	}
	return err
}

// Unfinished reports whether a restore was interrupted.
func (b Backups) Unfinished() bool { return b.restore().Begun() }

// Stage unpacks a backup beside what is there; nothing is changed yet.
func (b Backups) Stage(file string, keys []age.Identity) (backup.Manifest, error) {
	if err := os.MkdirAll(b.StateDir, 0o700); err != nil {
		return backup.Manifest{}, fmt.Errorf("backup: %w", err)
	}
	return b.restore().Stage(file, keys...)
}

// Finish stops what uses the files, puts those of the backup in their place, and
// starts it again. After an interruption it goes on, with an empty manifest.
func (b Backups) Finish(ctx context.Context, m backup.Manifest) error {
	stopped, err := b.stop(ctx)
	if err == nil {
		err = b.restore().Finish(m)
	}
	if err == nil {
		err = b.loadDatabase(ctx)
	}
	if b.Elsewhere {
		stopped = slices.DeleteFunc(stopped, func(unit string) bool { return unit == agentUnit })
	}
	if len(stopped) > 0 {
		start := append([]string{"systemctl", "start"}, stopped...)
		err = errors.Join(err, b.run(ctx, runner.Command{Name: "sae-agent-restore-start", Argv: start}))
	}
	return err
}

const agentUnit = "sae-agent.service"

// stop stops the services and stacks that use the files, and returns the services
// that ran.
func (b Backups) stop(ctx context.Context) (services []string, err error) {
	if b.Systemd {
		for _, unit := range []string{agentUnit, "freepbx.service", "asterisk.service"} {
			if b.run(ctx, runner.Command{Name: "sae-agent-restore-look", Argv: []string{"systemctl", "--quiet", "is-active", unit}}) == nil {
				services = append(services, unit)
			}
		}
		if err := b.run(ctx, runner.Command{Name: "sae-agent-restore-stop", Argv: append([]string{"systemctl", "stop"}, services...)}); len(services) > 0 && err != nil {
			return nil, err
		}
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return services, nil
	}
	projects, err := filepath.Glob(filepath.Join(b.StateDir, "stacks", "*", "compose.yaml"))
	if err != nil {
		return services, err
	}
	for _, p := range projects {
		c := runner.Command{Name: "sae-agent-restore-stack", Argv: []string{"docker", "compose", "--file", p, "stop"}, Dir: filepath.Dir(p)}
		if err := b.run(ctx, c); err != nil {
			return services, fmt.Errorf("stop the stack of %s: %w", p, err)
		}
	}
	return services, nil
}

// loadDatabase gives FreePBX its database back, where there is one in the backup
// and FreePBX is installed.
func (b Backups) loadDatabase(ctx context.Context) error {
	dump := filepath.Join(b.StateDir, databaseDir, databaseFile)
	data, err := os.ReadFile(dump)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := os.Lstat(freePBX); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the backup has FreePBX's database, and FreePBX is not here: install it with 'sae-agent pbx install', then restore again; the database is in %s", dump)
	}
	if err := b.run(ctx, runner.Command{Name: "sae-agent-restore-database", Argv: []string{"mysql", freePBXDatabase}, Stdin: data}); err != nil {
		return fmt.Errorf("give FreePBX its database back from %s: %w", dump, err)
	}
	return os.RemoveAll(filepath.Dir(dump))
}

// NewManifest describes a backup that is made now.
func NewManifest(site, version string) backup.Manifest {
	return backup.Manifest{Site: site, Version: version, Created: time.Now().UTC().Truncate(time.Second)}
}
