package agent

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// What can stand still for a backup.
const (
	holdLeases = "leases"
	holdStack  = "stack/" // and its name
)

// Names in the state folder.
const (
	leasesFile  = "leases.db"
	stacksDir   = "stacks"
	journalFile = "restore.json"
	databaseDir = "freepbx-database"
)

// BackupTrees lists what belongs into a backup of a machine, and where it is given
// back. hold has a part that the daemon uses stand still; nil when giving back.
func BackupTrees(stateDir, configPath string, hold func(ctx context.Context, part string) (string, func(), error)) []backup.Tree {
	stacks := stackNames()
	still := func(part string) func(context.Context) (string, func(), error) {
		return func(ctx context.Context) (string, func(), error) { return hold(ctx, part) }
	}
	notes := filepath.Join(stateDir, stacksDir)
	trees := []backup.Tree{
		{Name: "config", Path: filepath.Dir(configPath), Only: []string{filepath.Base(configPath), "*.yaml", "*.yml"}},
		{Name: "state", Path: stateDir, Skip: []string{leasesFile, leasesFile + ".lock", stacksDir, journalFile, databaseDir}},
		{Name: "leases", Path: stateDir, Only: []string{leasesFile}, Hold: still(holdLeases)},
		{Name: "stack-notes", Path: notes, Skip: append(notOfStacks(stacks), stacks...)},
		{Name: "asterisk", Path: "/etc/asterisk", Foreign: true},
		{Name: "voicemail", Path: "/var/spool/asterisk/voicemail", Foreign: true},
		{Name: databaseDir, Path: filepath.Join(stateDir, databaseDir)},
		{Name: "asterisk-database", Path: "/var/lib/asterisk", Only: []string{"astdb.sqlite3"}},
	}
	for _, name := range stacks {
		trees = append(trees, backup.Tree{Name: holdStack + name, Path: filepath.Join(notes, name), Numeric: true, Foreign: true, Hold: still(holdStack + name)})
	}
	return trees
}

// notOfStacks is what of the stacks' notes makes sense on this machine alone: copies
// from before updates, and an update that is under way.
func notOfStacks(stacks []string) []string {
	out := []string{"backups"}
	for _, name := range stacks {
		out = append(out, "update-"+name+".json")
	}
	return out
}

// BackupPlan answers control.GetBackupPlan.
func (a *Agent) BackupPlan(context.Context) (control.BackupPlan, error) {
	c := a.running.Load()
	p := control.BackupPlan{
		Site: c.Site.Name, Dir: c.Backup.Dir, Keep: c.Backup.Keep, Recipients: c.Backup.Recipients, Remote: c.Backup.Remote,
		StateDir: a.opts.StateDir, ConfigPath: a.opts.ConfigPath,
	}
	if last := a.backups.Load(); last != nil {
		p.Last = *last
	}
	return p, nil
}

// Hold answers control.HoldForBackup.
func (a *Agent) Hold(ctx context.Context, part string) (control.Held, func(), error) {
	if part == holdLeases {
		return a.holdLeases()
	}
	if name, ok := strings.CutPrefix(part, holdStack); ok {
		return a.holdStack(ctx, name)
	}
	return control.Held{}, nil, &control.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("there is no %q to stand still", part)}
}

// holdLeases makes a copy of the leases. Without a DHCP server the file itself
// stands still.
func (a *Agent) holdLeases() (control.Held, func(), error) {
	db := a.leases.Load()
	if db == nil {
		return control.Held{Path: a.opts.StateDir}, func() {}, nil
	}
	dir, err := os.MkdirTemp(a.opts.RuntimeDir, "backup-")
	if err != nil {
		return control.Held{}, nil, fmt.Errorf("agent: %w", err)
	}
	release := func() { _ = os.RemoveAll(dir) }
	if err := db.CopyTo(filepath.Join(dir, leasesFile)); err != nil {
		release()
		return control.Held{}, nil, err
	}
	return control.Held{Path: dir}, release, nil
}

// backupTick is how often it is looked whether a backup is due.
const backupTick = time.Minute

// backupFailWait is how long after a failed backup the next one is tried.
const backupFailWait = 20 * time.Minute

// buildBackup returns the part that makes backups of its own accord.
func (a *Agent) buildBackup(_ context.Context, c config.Backup) (supervisor.Part, error) {
	return a.measure(func(ctx context.Context) error {
		tick := time.NewTicker(backupTick)
		defer tick.Stop()
		for {
			a.backUpIfDue(ctx, c, time.Now())
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}, backupCollector{c.Dir, !c.Window.Off}), nil
}

// backUpIfDue has a backup made when the day's window is open and has none yet.
func (a *Agent) backUpIfDue(ctx context.Context, c config.Backup, now time.Time) {
	all, err := backup.Files(c.Dir)
	if err != nil || a.opts.Runner == nil || len(a.opts.BackupCommand) == 0 {
		return // a folder that cannot be read is the command's to tell
	}
	var newest time.Time
	if len(all) > 0 {
		newest = all[len(all)-1].Created
	}
	if last := a.backups.Load(); last != nil && last.Error != "" && now.Sub(last.At) < backupFailWait {
		return
	}
	if !backupDue(c.Window, siteTime(a.running.Load(), now), newest) {
		return
	}
	r, err := a.opts.Runner.Run(ctx, runner.Command{Name: "sae-agent-backup", Argv: a.opts.BackupCommand})
	out := &control.BackupOutcome{At: now}
	switch {
	case err != nil:
		out.Error = err.Error()
	case r.Exit != 0:
		out.Error = strings.TrimSpace(string(r.Stderr))
	}
	a.backups.Store(out)
	if out.Error != "" {
		a.log.Error("no backup was made", "part", "backup", "err", out.Error)
		return
	}
	a.log.Info("backup made", "part", "backup", "dir", c.Dir)
}

// siteTime is a time on the site's clocks.
func siteTime(c *config.Config, t time.Time) time.Time {
	zone, err := time.LoadLocation(c.Site.Timezone)
	if err != nil {
		return t.UTC() // checked by config
	}
	return t.In(zone)
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

func backupProblems(last *control.BackupOutcome) []problem.Problem {
	if last == nil || last.Error == "" {
		return nil
	}
	return []problem.Problem{{
		Severity: problem.Error, Part: "backup", What: "no backup was made: " + last.Error,
		Fix: "mend that; 'sae-agent backup create' tries again at once",
	}}
}

var (
	descBackupLast = prometheus.NewDesc("sae_backup_last_success_timestamp_seconds", "When the newest backup was made; 0 if there is none.", nil, nil)
	descBackupSize = prometheus.NewDesc("sae_backup_size_bytes", "Size of the newest backup.", nil, nil)
	descBackupDue  = prometheus.NewDesc("sae_backup_scheduled", "1 if a backup is made each day.", nil, nil)
	descBackups    = prometheus.NewDesc("sae_backup_archives", "Backups that are kept.", nil, nil)
)

// backupCollector says which backups there are.
type backupCollector struct {
	dir       string
	scheduled bool
}

// Describe implements prometheus.Collector.
func (backupCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBackupLast, descBackupSize, descBackupDue, descBackups} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c backupCollector) Collect(ch chan<- prometheus.Metric) {
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
