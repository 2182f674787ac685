package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// askTime is how long a daemon may take to go back before it counts as dead.
const askTime = 20 * time.Second

func newConfirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep a change that 'apply --confirm' would undo",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := ask(cmd, control.ConfirmConfig, control.None{}); err != nil {
				return err
			}
			return show(cmd, struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "Confirmed: the change stays.") })
		},
	}
}

func newRollbackCommand() *cobra.Command {
	var o control.RollbackOptions
	var list bool
	offline := agent.Offline{}
	cmd := &cobra.Command{
		Use:   "rollback [N]",
		Short: "Go back to an earlier configuration",
		Long: `Go back to the configuration before the one that runs, or to configuration N of
the last ten ('--list' shows them). The file in /etc is left as it is. Without
the daemon, cards and firewall are brought in line at once, and the rest when it starts.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),

		ValidArgsFunction: completeNumbers(),
		RunE: func(cmd *cobra.Command, args []string) error {
			offline.Runtime, _ = cmd.Flags().GetString("runtime-dir")
			offline.Logger = newLogger(cmd.ErrOrStderr(), slog.LevelWarn)
			if list {
				return listHistory(cmd, offline)
			}
			if len(args) == 1 {
				n, err := strconv.Atoi(args[0])
				if err != nil || n < 1 {
					return &usageError{fmt.Errorf("%q is not the number of a configuration: 'sae-agent rollback --list' shows them", args[0])}
				}
				o.Number = n
			}
			return rollback(cmd, offline, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&list, "list", false, "list the configurations that are kept")
	f.StringVar(&offline.State, "state-dir", defaultState, "where they are kept, when the daemon does not run")
	f.StringVar(&offline.ResolvConf, "resolv-conf", defaultResolvConf, "file that gets the WAN's resolvers, when the daemon does not run; empty: none")
	f.BoolVar(&o.Force, "force", false, "go back even if it locks out somebody who is logged in over SSH")
	f.IntVar(&o.Pending, "pending", 0, "only if this configuration still waits for its confirmation")
	_ = f.MarkHidden("pending") // the timer's
	return cmd
}

func rollback(cmd *cobra.Command, offline agent.Offline, o control.RollbackOptions) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), askTime)
	defer cancel()
	p, err := control.Call(ctx, daemon(cmd), control.RollbackConfig, o)
	if err == nil {
		return show(cmd, p, func(w io.Writer) { printPlan(w, p, "Nothing to do.") })
	}
	if !errors.Is(err, control.ErrNoDaemon) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	done, err := offline.Rollback(cmd.Context(), o)
	if err != nil {
		return err
	}
	return show(cmd, map[string]bool{"changed": done}, func(w io.Writer) {
		switch {
		case done:
			fmt.Fprintln(w, "The daemon does not answer. Cards and firewall are as they were; the rest follows when it starts.")
		default:
			fmt.Fprintln(w, "Nothing to do.")
		}
	})
}

func listHistory(cmd *cobra.Command, offline agent.Offline) error {
	all, err := ask(cmd, control.ListHistory, control.None{})
	if errors.Is(err, control.ErrNoDaemon) {
		all, err = offline.History()
	}
	if err != nil {
		return err
	}
	return show(cmd, all, func(w io.Writer) {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "NUMBER\tAPPLIED\tSHA-256\t")
		for _, e := range all {
			note := ""
			switch {
			case e.Pending:
				note = "runs, waits for its confirmation"
			case e.Runs:
				note = "runs"
			}
			fmt.Fprintf(tw, "%d\t%s\t%.12s\t%s\n", e.Number, e.AppliedAt.Local().Format(time.DateTime), e.Hash, note)
		}
		_ = tw.Flush() // show tells of a writer that fails
	})
}

// newBootCommand is what sae-agent-boot.service runs.
func newBootCommand() *cobra.Command {
	var offline agent.Offline
	cmd := &cobra.Command{
		Use:    "boot",
		Short:  "Prepare the start of the machine: undo what nobody confirmed, load the ruleset and the bans",
		Hidden: true,
		Args:   usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			offline.Runtime, _ = cmd.Flags().GetString("runtime-dir")
			offline.Logger = newLogger(cmd.ErrOrStderr(), slog.LevelWarn)
			undone, err := offline.Boot(cmd.Context(), time.Now())
			if undone {
				newLogger(cmd.ErrOrStderr(), slog.LevelInfo).Warn("a change that nobody confirmed before the reboot was undone")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&offline.State, "state-dir", defaultState, "where applied configurations are kept")
	return cmd
}

// newRunner returns what undoes changes here.
func newRunner(runtimeDir string) part.Runner {
	if runner.Here() {
		return runner.Systemd{}
	}
	return runner.Plain{Dir: runtimeDir}
}
