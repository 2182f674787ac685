package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	partbackup "github.com/sae-agent/sae-agent/agent/parts/backup"
	"github.com/sae-agent/sae-agent/agent/runner"
)

const defaultBackups = "/var/backups/sae-agent"

func newBackupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Copies of configuration, state, PBX and stacks in one encrypted archive",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupCreateCommand(), newBackupListCommand(), newBackupRestoreCommand(), newBackupKeyCommand())
	return cmd
}

// backups returns what makes backups of this machine.
func backups(stateDir, configPath string) partbackup.Backups {
	b := agent.NewBackups(part.Paths{State: stateDir, Config: configPath})
	b.Run, b.Systemd = runner.Plain{}.Run, runner.Here() // the command is outside of the daemon's sandbox already
	return b
}

func newBackupCreateCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a backup now",
		Long: `Make a backup now, read it back, and remove the oldest ones. Stacks stand still
while they are read. What opens it is the machine's own key, which 'sae-agent
backup key' shows: keep a copy of it elsewhere, or the backups are lost with the
machine.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := ask(cmd, control.GetBackupPlan, control.None{})
			if err != nil {
				return err
			}
			if dir != "" {
				plan.Dir = dir
			}
			file, err := createBackup(cmd, plan)
			if err != nil {
				return err
			}
			return show(cmd, map[string]string{"file": file}, func(w io.Writer) {
				fmt.Fprintf(w, "%s\nOnly the key opens it: 'sae-agent backup key' shows it; keep a copy elsewhere.\n", file)
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "where to put it; default: backup.dir of the configuration")
	return cmd
}

func createBackup(cmd *cobra.Command, plan control.BackupPlan) (string, error) {
	var to []age.Recipient
	for _, text := range plan.Recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return "", fmt.Errorf("backup.recipients: %w", err)
		}
		to = append(to, r)
	}
	hold := func(ctx context.Context, part string) (string, func(), error) {
		h, release, err := control.CallHold(ctx, daemon(cmd), control.HoldForBackup, control.HoldRequest{Part: part})
		return h.Path, release, err
	}
	b := backups(plan.StateDir, plan.ConfigPath)
	file, err := b.Create(cmd.Context(), plan.Dir, plan.Keep, partbackup.NewManifest(plan.Site, version), to, hold)
	if err != nil || plan.Remote == "" {
		return file, err
	}
	remote, err := backup.ParseRemote(plan.Remote)
	if err == nil {
		err = remote.Copy(cmd.Context(), b.Run, file, plan.Keep)
	}
	if err != nil {
		return "", fmt.Errorf("the backup is in %s, and not at %s: %w", file, plan.Remote, err)
	}
	return file, nil
}

// places are flags that say where things are when no daemon tells.
type places struct{ state, config, key string }

func (p *places) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.state, "state-dir", defaultState, "where the daemon keeps its state")
	cmd.Flags().StringVar(&p.config, "config", defaultConfig, "the configuration file")
	cmd.Flags().StringVar(&p.key, "key", "", "file of age keys; default: the machine's own")
}

func (p *places) backups() partbackup.Backups { return backups(p.state, p.config) }

func (p *places) keys() ([]age.Identity, error) {
	file := p.key
	if file == "" {
		file = p.backups().KeyFile()
	}
	keys, err := backup.ReadKeys(file)
	if errors.Is(err, os.ErrNotExist) && p.key == "" {
		return nil, errors.New("this machine has no key yet: name the key file of the machine that made the backup with --key")
	}
	return keys, err
}

func newBackupListCommand() *cobra.Command {
	var dir string
	var p places
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				dir = defaultBackups
				if plan, err := ask(cmd, control.GetBackupPlan, control.None{}); err == nil {
					dir = plan.Dir
				}
			}
			keys, err := p.keys()
			if err != nil && p.key != "" {
				return err
			}
			all, err := backup.List(dir, keys...)
			if err != nil {
				return err
			}
			return show(cmd, all, func(w io.Writer) { printBackups(w, all) })
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&dir, "dir", "", "where they are; default: backup.dir of the configuration")
	return cmd
}

func printBackups(w io.Writer, all []backup.Listed) {
	var rows [][]string
	for _, l := range all {
		what := l.Problem
		if l.Manifest != nil {
			what = l.Manifest.Site + ": " + strings.Join(l.Manifest.Trees, ", ")
		}
		rows = append(rows, []string{l.File, l.Created.Local().Format(time.DateTime), fmt.Sprintf("%.1f MB", float64(l.Bytes)/1e6), what})
	}
	table(w, []string{"FILE", "MADE", "SIZE", "CONTENT"}, rows)
}

func newBackupRestoreCommand() *cobra.Command {
	var p places
	var yes, goOn, elsewhere bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Give a backup back, on this machine or another one",
		Long: `Give a backup back. All of it is unpacked and checked first; only then the
services are stopped, the files put in place, and the services started again.
What was there before is kept beside it, in folders named .restore-*/old, until
the next restore. An interrupted restore is finished with '--continue'.

On a machine with another LAN, say '--elsewhere': what the first machine had
applied, its addresses and its firewall's rules are left out, and the daemon is not
started. Edit the file for this machine, then start it.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b := p.backups()
			b.Elsewhere = elsewhere
			if !b.Systemd {
				if _, err := ask(cmd, control.GetBackupPlan, control.None{}); !errors.Is(err, control.ErrNoDaemon) {
					return errors.New("the daemon runs: stop it first")
				}
			}
			switch {
			case goOn != (len(args) == 0):
				return &usageError{errors.New("name the backup's file, or say --continue")}
			case goOn && !b.Unfinished():
				return errors.New("no restore was interrupted")
			case goOn:
				return b.Finish(cmd.Context(), backup.Manifest{})
			}
			return restore(cmd, b, args[0], p, yes)
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&goOn, "continue", false, "finish a restore that was interrupted")
	cmd.Flags().BoolVar(&elsewhere, "elsewhere", false, "for a machine with another LAN: the daemon begins with the file, which you edit first")
	return cmd
}

func restore(cmd *cobra.Command, b partbackup.Backups, file string, p places, yes bool) error {
	keys, err := p.keys()
	if err != nil {
		return err
	}
	m, err := backup.Inspect(file, keys...)
	if err != nil {
		return err
	}
	lines := []string{fmt.Sprintf("replace %s by those of %s of %s", strings.Join(m.Trees, ", "), m.Site, m.Created.Local().Format(time.DateTime))}
	if b.Elsewhere {
		lines = append(lines, "leave the daemon stopped: edit "+p.config+" for this machine's LAN, then start it")
	}
	return agree(cmd, lines, yes, "", func() error {
		if _, err := b.Stage(file, keys); err != nil {
			return err
		}
		return b.Finish(cmd.Context(), m)
	})
}

func newBackupKeyCommand() *cobra.Command {
	var p places
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Show the key that opens this machine's backups",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, _, err := backup.EnsureKey(p.backups().KeyFile())
			if err != nil {
				return err
			}
			return show(cmd, map[string]string{"key": key.String()}, func(w io.Writer) { fmt.Fprintln(w, key) })
		},
	}
	p.flags(cmd)
	return cmd
}
