// Package backup is the part that makes backups of its own accord, and knows what
// belongs into one.
package backup

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
)

const (
	name      = "backup"
	stateTree = "state" // name of the state folder in an archive
)

// Names in the state folder.
const (
	journalFile = "restore.json"
	databaseDir = "freepbx-database"
)

// Part makes backups.
type Part struct {
	host    part.Host
	command []string
	last    atomic.Pointer[control.BackupOutcome] // nil: none yet
}

// New returns the part. The command makes a backup; empty: none is made.
func New(h part.Host, command []string) *Part { return &Part{host: h, command: command} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[config.Backup]{
		Name: name,
		Desired: func(_ context.Context, in part.Input) (config.Backup, bool, error) {
			return in.Config.Backup, true, nil
		},
		Build: p.build,
	})}
}

// tickEvery is how often it is looked whether a backup is due.
const tickEvery = 20 * time.Second

// backupFailWait is how long after a failed backup the next one is tried.
const backupFailWait = 20 * time.Minute

func (p *Part) build(_ context.Context, c config.Backup) (part.Run[config.Backup], error) {
	return part.Run[config.Backup]{
		Run: func(ctx context.Context) error {
			tick := time.NewTicker(tickEvery)
			defer tick.Stop()
			for {
				p.backUpIfDue(ctx, c, time.Now())
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		},
		Collectors: []prometheus.Collector{Collector{c.Dir, !c.Window.Off}},
	}, nil
}

// backUpIfDue has a backup made when the day's window is open and has none yet.
func (p *Part) backUpIfDue(ctx context.Context, c config.Backup, now time.Time) {
	all, err := backup.Files(c.Dir)
	if err != nil || p.host.Runner() == nil || len(p.command) == 0 {
		return // a folder that cannot be read is the command's to tell
	}
	var newest time.Time
	if len(all) > 0 {
		newest = all[len(all)-1].Created
	}
	if last := p.last.Load(); last != nil && last.Error != "" {
		if newest.After(last.At) { // somebody has made one by hand
			p.last.Store(&control.BackupOutcome{At: newest})
		} else if now.Sub(last.At) < backupFailWait {
			return
		}
	}
	if !backupDue(c.Window, p.host.Running().Config.Site.Local(now), newest) {
		return
	}
	r, err := p.host.Runner().Run(ctx, runner.Command{Name: "sae-agent-backup", Argv: p.command})
	out := &control.BackupOutcome{At: now}
	switch {
	case err != nil:
		out.Error = err.Error()
	case r.Exit != 0:
		out.Error = strings.TrimSpace(string(r.Stderr))
	}
	p.last.Store(out)
	if out.Error != "" {
		p.host.Logger(name).Error("no backup was made", "err", out.Error)
		return
	}
	p.host.Logger(name).Info("backup made", "dir", c.Dir)
}

// backupDue reports whether the window that is open now has had no backup yet.
func backupDue(w config.TimeWindow, now, newest time.Time) bool {
	if w.Off {
		return false
	}
	minute := config.TimeOfDay(now.Hour()*60 + now.Minute())
	since := int(minute) - int(w.Start)
	if since < 0 {
		since += 24 * 60
	}
	length := int(w.End) - int(w.Start)
	if length <= 0 {
		length += 24 * 60
	}
	began := now.Truncate(time.Minute).Add(-time.Duration(since) * time.Minute)
	return since < length && newest.Before(began)
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) []problem.Problem { return problems(p.last.Load()) }

func problems(last *control.BackupOutcome) []problem.Problem {
	if last == nil || last.Error == "" {
		return nil
	}
	return []problem.Problem{{
		ID: problem.BackupFailed, Severity: problem.Error, Part: name, What: "no backup was made: " + last.Error,
		Fix: "mend that; 'sae-agent backup create' tries again at once",
	}}
}

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{control.Handle(control.GetBackupPlan, p.plan)}
}

func (p *Part) plan(context.Context, control.None) (control.BackupPlan, error) {
	c, paths := p.host.Running().Config, p.host.Paths()
	plan := control.BackupPlan{
		Site: c.Site.Name, Dir: c.Backup.Dir, Keep: c.Backup.Keep, Recipients: c.Backup.Recipients, Remote: c.Backup.Remote,
		StateDir: paths.State, ConfigPath: paths.Config,
	}
	if last := p.last.Load(); last != nil {
		plan.Last = *last
	}
	return plan, nil
}

// Trees implements part.Keeper.
func (p *Part) Trees(paths part.Paths, _ part.HoldFunc) []backup.Tree {
	return []backup.Tree{
		{Name: "config", Path: filepath.Dir(paths.Config), Only: []string{filepath.Base(paths.Config), "*.yaml", "*.yml", "*.secret"}},
		{Name: databaseDir, Path: paths.InState(databaseDir)},
	}
}

// All lists what belongs into a backup of a machine, and where it is given back: the
// parts' trees, and the rest of the state folder.
func All(paths part.Paths, parts []part.Part, hold part.HoldFunc) []backup.Tree {
	state := backup.Tree{Name: stateTree, Path: paths.State, Skip: []string{journalFile}}
	var trees []backup.Tree
	for _, p := range parts {
		k, ok := p.(part.Keeper)
		if !ok {
			continue
		}
		for _, t := range k.Trees(paths, hold) {
			state.Skip = append(state.Skip, inState(paths.State, t)...)
			trees = append(trees, t)
		}
	}
	return append([]backup.Tree{state}, trees...)
}

// inState are the names in the state folder that a tree holds.
func inState(dir string, t backup.Tree) []string {
	if t.Path == dir {
		var out []string
		for _, n := range t.Only {
			out = append(out, n, n+".lock")
		}
		return out
	}
	below, err := filepath.Rel(dir, t.Path)
	if err != nil || strings.HasPrefix(below, "..") {
		return nil
	}
	first, _, _ := strings.Cut(below, string(filepath.Separator))
	return []string{first}
}

var (
	descBackupLast = prometheus.NewDesc("sae_backup_last_success_timestamp_seconds", "When the newest backup was made; 0 if there is none.", nil, nil)
	descBackupSize = prometheus.NewDesc("sae_backup_size_bytes", "Size of the newest backup.", nil, nil)
	descBackupDue  = prometheus.NewDesc("sae_backup_scheduled", "1 if a backup is made each day.", nil, nil)
	descBackups    = prometheus.NewDesc("sae_backup_archives", "Backups that are kept.", nil, nil)
)

// Collector says which backups there are.
type Collector struct {
	dir       string
	scheduled bool
}

// Describe implements prometheus.Collector.
func (Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBackupLast, descBackupSize, descBackupDue, descBackups} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	all, err := backup.Files(c.dir)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descBackups, err)
		return
	}
	var newest, size, scheduled float64
	if c.scheduled {
		scheduled = 1
	}
	if len(all) > 0 {
		last := all[len(all)-1]
		newest, size = float64(last.Created.Unix()), float64(last.Bytes)
	}
	for d, v := range map[*prometheus.Desc]float64{descBackupLast: newest, descBackupSize: size, descBackupDue: scheduled, descBackups: float64(len(all))} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
}
