// Package install puts FreePBX and Asterisk on this machine by means of Sangoma's
// installer for Debian 12, and makes sure that it did.
//
// The installer takes half an hour, changes much of the machine, and has ways to end
// with status 0 without having installed anything. So it runs as a unit of systemd
// that outlives whoever started it, its script is one that somebody has approved, what
// it needs is looked at before, and what it brought afterwards. It takes neither the
// TFTP port nor, before there is an administrator, strangers on the web interface.
//
// The package is written from the installer's source (version 1.15). It knows nothing
// of extensions.
package install

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// JobName is the name of the installer's unit, without .service.
const JobName = "sae-agent-pbx-install"

const (
	scriptName = "installer.sh"
	logName    = "install.log"
	// pollTime is how often the installer's log is read.
	pollTime = 500 * time.Millisecond
)

// System is the machine's manager of units, and runs commands.
type System interface {
	Start(ctx context.Context, c runner.Command, log string) error
	Job(ctx context.Context, name string) (runner.Job, error)
	Run(ctx context.Context, c runner.Command) (runner.Result, error)
	ReloadManager(ctx context.Context) error
	Reload(ctx context.Context, unit string) error
	Units(ctx context.Context, names []string) (map[string]runner.UnitState, error)
}

// Installer installs a PBX.
type Installer struct {
	System  System
	Root    string // of the machine's files; usually /
	Dir     string // for script and log; made 0700 when absent
	FreePBX bool   // false: Asterisk alone
	// AdminFrom may reach FreePBX's web interface before it has an administrator,
	// besides the machine itself.
	AdminFrom []netip.Prefix
	// Progress is called for each step of the installer.
	Progress func(line string)
}

// flags are the installer's options. --skipversion: it ends with status 0 when there is
// a newer one of it; which one is approved is our affair. --opensourceonly: the
// commercial modules bring a firewall that would fight with ours.
func (i Installer) flags() []string {
	f := []string{"--skipversion", "--opensourceonly"}
	if !i.FreePBX {
		f = append(f, "--nofreepbx")
	}
	return f
}

// Running reports whether an installation is under way, begun by whomever.
func (i Installer) Running(ctx context.Context) (bool, error) {
	j, err := i.System.Job(ctx, JobName)
	return j.Running, err
}

// Begin starts the installer with an approved script.
func (i Installer) Begin(ctx context.Context, script []byte) error {
	if err := os.MkdirAll(i.Dir, 0o700); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := durable.WriteFile(i.path(scriptName), script, 0o700); err != nil {
		return fmt.Errorf("install: keep the script: %w", err)
	}
	if err := os.Remove(i.path(logName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("install: %w", err)
	}
	if err := i.prepare(ctx); err != nil {
		return err
	}
	return i.System.Start(ctx, runner.Command{
		Name: JobName, Argv: append([]string{"bash", i.path(scriptName)}, i.flags()...),
		Env: []string{"DEBIAN_FRONTEND=noninteractive"},
	}, i.path(logName))
}

// prepare keeps the installer from what it must not do.
func (i Installer) prepare(ctx context.Context) error {
	if err := i.keepPort(ctx); err != nil {
		return err
	}
	if !i.FreePBX {
		return nil
	}
	return i.CloseFirstRun(ctx)
}

// CloseFirstRun keeps strangers from FreePBX's pages until it has an administrator.
func (i Installer) CloseFirstRun(ctx context.Context) error {
	if err := i.Guard().Put(i.AdminFrom); err != nil {
		return err
	}
	return i.reloadApache(ctx)
}

// Guard is what keeps strangers from FreePBX's first visit.
func (i Installer) Guard() Guard { return Guard{Root: i.Root} }

// reloadApache has a web server that runs already heed the guard.
func (i Installer) reloadApache(ctx context.Context) error {
	units, err := i.System.Units(ctx, []string{apacheUnit})
	if err != nil || !units[apacheUnit].Active {
		return err
	}
	return i.System.Reload(ctx, apacheUnit)
}

// Follow tells the installer's progress until it ends, also that of one which was
// begun before. It returns an error when the installer says that it failed; that it
// does not say so means nothing (see Verify).
func (i Installer) Follow(ctx context.Context) error {
	t := tail{path: i.path(logName), each: func(line string) {
		if step := stepOf(line); step != "" {
			i.Progress(step)
		}
	}}
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		j, err := i.System.Job(ctx, JobName)
		if err != nil {
			return err
		}
		if err := t.read(); err != nil {
			return fmt.Errorf("install: follow the log: %w", err)
		}
		switch {
		case j.Failed:
			return fmt.Errorf("%s: see %s and /var/log/pbx; when the cause is gone, run 'sae-agent pbx install' again, it goes on from there", i.failure(j.Exit), i.path(logName))
		case !j.Running:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the installer goes on by itself, 'sae-agent pbx install' shows it again: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (i Installer) path(name string) string { return filepath.Join(i.Dir, name) }
