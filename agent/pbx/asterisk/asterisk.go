// Package asterisk configures a plain Asterisk, without FreePBX: it writes files of its own beside Asterisk's, has
// each included by one line, and has Asterisk reload what has changed.
//
// What the files should say is worked out apart from writing them (render.go, dialplan.go, plan.go). The package does
// not know what happens in the exchange afterwards; package pbx watches that.
package asterisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// Manager is Asterisk's manager interface, as *ami.Client has it.
type Manager interface {
	Do(ctx context.Context, a ami.Action) (ami.Message, error)
	List(ctx context.Context, a ami.Action) ([]ami.Message, error)
	Status() ami.Status
}

// Config says where Asterisk is.
type Config struct {
	Dir string // /etc/asterisk
	// Marker is a file of ours that lists what Asterisk must reload still. It lasts when we are killed between
	// writing and reloading.
	Marker string
	// Console runs a command of Asterisk's console. It is needed once, before Asterisk knows our manager user.
	Console func(ctx context.Context, command string) error
	Logger  *slog.Logger
}

// Driver is a pbx.Driver.
type Driver struct {
	cfg     Config
	manager Manager
}

// New returns a driver for the Asterisk that manager speaks with.
func New(cfg Config, manager Manager) *Driver { return &Driver{cfg: cfg, manager: manager} }

// accountsModule is the module of Asterisk that has the accounts.
const accountsModule = "res_pjsip.so"

const (
	connectTime = 10 * time.Second // for the manager interface to take us in after it knows us
	takeTime    = 10 * time.Second // for Asterisk to take over accounts that it has reloaded
	pollTime    = 50 * time.Millisecond
)

// Plan implements pbx.Driver.
func (d *Driver) Plan(_ context.Context, want pbx.Desired) ([]pbx.Change, error) {
	p, err := d.plan(want)
	return p.changes, errors.Join(err, p.refusal())
}

// Apply implements pbx.Driver.
func (d *Driver) Apply(ctx context.Context, want pbx.Desired) ([]pbx.Change, error) {
	p, err := d.plan(want)
	if err != nil {
		return nil, err
	}
	due, err := d.due(p.modules)
	if err != nil {
		return nil, err
	}
	if err := d.write(p); err != nil {
		return nil, err
	}
	done := slices.DeleteFunc(slices.Clone(p.changes), func(c pbx.Change) bool { return c.Waits })
	if len(due) == 0 && d.behind(ctx) {
		due = []string{accountsModule}
	}
	if len(due) == 0 {
		return done, p.refusal()
	}
	return done, errors.Join(d.reload(ctx, due), p.refusal())
}

// behind reports whether Asterisk runs with other accounts than our file has: a reload was lost.
func (d *Driver) behind(ctx context.Context) bool {
	if !d.manager.Status().Up {
		return false
	}
	wanted, err := d.written()
	if err != nil {
		return false // the next attempt to read or write it says why
	}
	missing, err := d.missing(ctx, wanted)
	return err == nil && len(missing) > 0
}

func (d *Driver) plan(want pbx.Desired) (plan, error) {
	h, err := d.read()
	if err != nil {
		return plan{}, err
	}
	return makePlan(h, want)
}

func (p plan) refusal() error {
	if len(p.refused) == 0 {
		return nil
	}
	return fmt.Errorf("asterisk: %s", strings.Join(p.refused, "; "))
}

// read reads the files that matter.
func (d *Driver) read() (have, error) {
	h := have{dir: d.cfg.Dir, texts: make(map[string]string)}
	entries, err := os.ReadDir(d.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("asterisk: %w (no %s): install Asterisk ('sae-agent pbx install' does), or write pbx: {driver: none}", pbx.ErrAbsent, d.cfg.Dir)
	}
	if err != nil {
		return h, fmt.Errorf("asterisk: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		matters := strings.HasPrefix(name, "pjsip") && strings.HasSuffix(name, ".conf")
		for _, f := range files {
			matters = matters || name == f.name || name == f.into
		}
		if !matters {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.cfg.Dir, name))
		if err != nil {
			return h, fmt.Errorf("asterisk: %w", err)
		}
		h.texts[name] = string(data)
	}
	return h, nil
}

// due adds modules to those that wait for their reload, and notes them all.
func (d *Driver) due(modules []string) ([]string, error) {
	data, err := os.ReadFile(d.cfg.Marker)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("asterisk: %w", err)
	}
	due := strings.Fields(string(data))
	known := len(due)
	for _, m := range modules {
		if !slices.Contains(due, m) {
			due = append(due, m)
		}
	}
	if len(due) == known {
		return due, nil
	}
	if err := durable.WriteFile(d.cfg.Marker, []byte(strings.Join(due, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("asterisk: note what must be reloaded: %w", err)
	}
	return due, nil
}

// write writes our files first and then the lines that include them. Files of Asterisk's keep owner and mode; ours
// get those of pjsip.conf, so that Asterisk can read the secrets and others cannot.
func (d *Driver) write(p plan) error {
	ours := owner{mode: 0o640}
	if o, ok := ownerOf(filepath.Join(d.cfg.Dir, pjsipMain)); ok {
		ours = owner{mode: o.mode &^ 0o007, uid: o.uid, gid: o.gid}
	} else if o, ok := ownerOf(d.cfg.Dir); ok {
		ours.uid, ours.gid = o.uid, o.gid
	}
	for _, isOurs := range []bool{true, false} {
		for _, f := range files {
			name := f.into
			if isOurs {
				name = f.name
			}
			text, ok := p.write[name]
			if !ok {
				continue
			}
			path, as := filepath.Join(d.cfg.Dir, name), ours
			if o, exists := ownerOf(path); exists && !isOurs {
				as = o
			}
			if err := durable.WriteFileAs(path, []byte(text), as.mode, as.uid, as.gid); err != nil {
				return fmt.Errorf("asterisk: %w", err)
			}
		}
	}
	return nil
}

// owner is whose a file is, and who may do what with it.
type owner struct {
	mode     os.FileMode
	uid, gid int
}

func ownerOf(path string) (owner, bool) {
	fi, err := os.Stat(path)
	if err != nil {
		return owner{}, false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, false
	}
	return owner{fi.Mode().Perm(), int(st.Uid), int(st.Gid)}, true
}

// reload makes Asterisk read the modules' files again, and checks that it has the accounts.
func (d *Driver) reload(ctx context.Context, modules []string) error {
	if err := d.connect(ctx, slices.Contains(modules, "manager")); err != nil {
		return err
	}
	for _, m := range modules {
		if _, err := d.manager.Do(ctx, ami.NewAction("Reload", "Module", m)); err != nil {
			return d.failed(fmt.Errorf("asterisk: reload %s: %w", m, err))
		}
	}
	if err := d.taken(ctx); err != nil {
		return d.failed(err)
	}
	if err := os.Remove(d.cfg.Marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("asterisk: %w", err)
	}
	return nil
}

// failed tells an Asterisk that has gone from one that refuses.
func (d *Driver) failed(err error) error {
	if !d.manager.Status().Up {
		return fmt.Errorf("%w: %w", pbx.ErrDown, err)
	}
	return err
}

// connect waits for the manager interface. An Asterisk that does not know our user is told by its console to look.
func (d *Driver) connect(ctx context.Context, userChanged bool) error {
	st := d.manager.Status()
	if st.Up {
		return nil
	}
	if !userChanged && !errors.Is(st.Err, ami.ErrRefused) {
		return fmt.Errorf("%w: %w", pbx.ErrDown, reason(st.Err))
	}
	if err := d.cfg.Console(ctx, "manager reload"); err != nil {
		return fmt.Errorf("%w: %w", pbx.ErrDown, err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	for !d.manager.Status().Up {
		if !pause.For(ctx, pollTime) {
			return fmt.Errorf("%w: its manager interface does not take us in: %w", pbx.ErrDown, reason(d.manager.Status().Err))
		}
	}
	return nil
}

func reason(err error) error {
	if err == nil {
		return ami.ErrNotConnected
	}
	return err
}

// written are the accounts of our file.
func (d *Driver) written() (map[string]pbx.Extension, error) {
	h, err := d.read()
	return accountsIn(h.texts[pjsipName]), err
}

// taken waits until Asterisk runs with all accounts of our file, and their secrets.
func (d *Driver) taken(ctx context.Context) error {
	wanted, err := d.written()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	for {
		missing, err := d.missing(ctx, wanted)
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("it has not taken over extension %s and %d more", missing[0], len(missing)-1)
			}
			return fmt.Errorf("asterisk: %w: the reason is in /var/log/asterisk/messages.log", err)
		case <-time.After(pollTime):
		}
	}
}

// missing lists the accounts that Asterisk does not run with, or with another secret.
func (d *Driver) missing(ctx context.Context, wanted map[string]pbx.Extension) (missing []string, err error) {
	running, err := pbx.Accounts(ctx, d.manager)
	if err != nil {
		return nil, err
	}
	for number, e := range wanted {
		if !running[number].Takes(e.Secret) {
			missing = append(missing, number)
		}
	}
	slices.Sort(missing)
	return missing, nil
}
