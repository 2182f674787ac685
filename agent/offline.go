package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/part"
	partbackup "github.com/sae-agent/sae-agent/agent/parts/backup"
)

// Offline does without the daemon what can be done so: going back to an earlier
// configuration, and having the cards follow it.
type Offline struct {
	part.Paths
	Logger *slog.Logger
}

// offlineHost is what the parts have where no daemon runs.
type offlineHost struct {
	Offline
	in part.Input
}

func (h offlineHost) Logger(name string) *slog.Logger {
	return h.Offline.Logger.With(events.KeyPart, name)
}
func (h offlineHost) Paths() part.Paths                       { return h.Offline.Paths }
func (h offlineHost) Running() part.Input                     { return h.in }
func (h offlineHost) Changed()                                {}
func (h offlineHost) Settle(context.Context, string) error    { return control.ErrNoDaemon }
func (h offlineHost) Reconciled(string, time.Duration, error) {}
func (h offlineHost) Edit(context.Context, control.EditOptions, func(*edit.File) error) (control.Plan, error) {
	return control.Plan{}, control.ErrNoDaemon
}
func (h offlineHost) Renew(context.Context, ...string) ([]control.Behind, error) {
	return nil, control.ErrNoDaemon
}
func (h offlineHost) Runner() part.Runner { return nil }

func (o Offline) history() (*history.History, error) {
	if err := format.Check(o.State); err != nil {
		return nil, err
	}
	return history.Open(o.InState(historyDir), o.Runtime)
}

// History lists the configurations that are kept, newest last.
func (o Offline) History() ([]control.Applied, error) {
	h, err := o.history()
	if err != nil {
		return nil, err
	}
	return kept(h)
}

// Current returns the text of the configuration that runs, or ran last; nil when none did.
func (o Offline) Current() ([]byte, error) {
	if _, err := os.Stat(o.InState(historyDir)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	h, err := o.history()
	if err != nil {
		return nil, err
	}
	_, data, err := h.Current()
	if errors.Is(err, history.ErrEmpty) {
		return nil, nil
	}
	return data, err
}

// Rollback makes an earlier configuration the one that the daemon will start with,
// and brings the cards in line now. It reports whether there was something to do.
func (o Offline) Rollback(ctx context.Context, ro control.RollbackOptions) (bool, error) {
	h, err := o.history()
	if err != nil {
		return false, err
	}
	target, err := findTarget(h, ro)
	if err != nil || target == nil {
		return false, err
	}
	data, err := h.Read(*target)
	if err != nil {
		return false, err
	}
	if _, err := goTo(h, *target, data); err != nil {
		return false, err
	}
	return true, o.follow(ctx, *target, data)
}

// Boot makes the last confirmed configuration the one that runs, and puts its
// ruleset and the bans in force, before the network comes up. It reports whether a
// change was undone. Neither failure keeps it from the other thing.
func (o Offline) Boot(ctx context.Context, now time.Time) (undone bool, err error) {
	h, err := o.history()
	if err == nil {
		undone, err = h.UndoOverdue(now)
	}
	for _, p := range newParts(offlineHost{Offline: o}, nil) {
		if b, ok := p.(part.Booter); ok {
			err = errors.Join(err, b.Boot(ctx))
		}
	}
	return undone, err
}

// follow has the parts that can follow a configuration.
func (o Offline) follow(ctx context.Context, entry history.Entry, data []byte) error {
	next, err := parseAccepted(entry, data)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range newParts(offlineHost{o, next.Input}, nil) {
		if f, ok := p.(part.OfflineApplier); ok {
			errs = append(errs, f.ApplyOffline(ctx, next.Input))
		}
	}
	return errors.Join(errs...)
}

// BackupTrees lists what belongs into a backup, and where it is given back.
func BackupTrees(paths part.Paths, hold part.HoldFunc) []backup.Tree {
	h := offlineHost{Offline: Offline{Paths: paths, Logger: slog.New(slog.DiscardHandler)}}
	return partbackup.All(paths, newParts(h, nil), hold)
}

// NewBackups returns what makes backups and gives them back. Its Run and Systemd are
// for the caller to set.
func NewBackups(paths part.Paths) partbackup.Backups {
	return partbackup.Backups{
		StateDir: paths.State,
		Trees:    func(hold part.HoldFunc) []backup.Tree { return BackupTrees(paths, hold) },
		// What was applied, the addresses and the ruleset that are in force before the agent runs.
		Local: []string{"state/" + historyDir, "state/network", "state/firewall/ruleset.nft"},
	}
}
