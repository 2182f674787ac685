package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

func newPBXCommand() *cobra.Command {
	status := newPBXStatusCommand()
	cmd := &cobra.Command{
		Use:   "pbx",
		Short: "Show how the exchange is, install it, restart it",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  status.RunE,
	}
	cmd.AddCommand(status, newPBXInstallCommand(), newPBXRestartCommand(), newPBXPauseCommand(), newPBXResumeCommand())
	return cmd
}

func newPBXStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the exchange is and what has happened to it",
		Long: `Show how the exchange is: whether it answers phones and us, whether it has the
extensions of the file, who is registered, and what has happened to it. The exit
status is 0 when it is well, else 1.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := ask(cmd, control.GetPBX, control.None{})
			if err != nil {
				return err
			}
			if err := show(cmd, st, func(w io.Writer) { printPBX(w, st, time.Now()) }); err != nil {
				return err
			}
			if st.State != string(pbx.Well) || !st.InLine {
				return &silentError{}
			}
			return nil
		},
	}
}

// changesShown is how many of the last changes are printed; --json has more.
const changesShown = 5

func printPBX(w io.Writer, st control.PBXStatus, now time.Time) {
	reader{}.exchange(w, st)
	if !st.Since.IsZero() {
		fmt.Fprintf(w, "Since          %s\n", ago(now, st.Since))
	}
	inLine := "has what the file says"
	if !st.InLine {
		inLine = "not as the file says: " + dash(st.Error)
	}
	if st.State != "none" {
		fmt.Fprintf(w, "Extensions     %s\n", inLine)
	}
	paused := ""
	if !st.Paused.IsZero() {
		paused = "until " + st.Paused.Local().Format(time.DateTime)
	}
	for _, row := range [][2]string{
		{"Left alone", paused}, {"Why", st.Why}, {"Not restarted", st.Held},
		{"Not in service", strings.Join(st.Unserved, ", ")}, {"Wait for calls", strings.Join(st.Waiting, ", ")},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%-14s %s\n", row[0], row[1])
		}
	}
	for _, c := range st.Changes[max(0, len(st.Changes)-changesShown):] {
		fmt.Fprintf(w, "extension %s: changed in %.1f s (%s, %s)\n", c.Number, c.Took.Seconds(), c.MAC, ago(now, c.At))
	}
	for i, e := range st.Story {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s  %s\n", e.At.Local().Format(time.DateTime), e.What)
	}
}

func newPBXRestartCommand() *cobra.Command {
	var o control.RestartOptions
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Restart the exchange",
		Long: `Restart the exchange. As long as calls go on it is refused, unless --force
is given: that ends them.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := ask(cmd, control.RestartPBX, o); err != nil {
				return err
			}
			return show(cmd, struct{}{}, func(w io.Writer) {
				fmt.Fprintln(w, "Started. 'sae-agent pbx status' says when it answers.")
			})
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "even if calls go on")
	return cmd
}

// defaultPause is long enough for an update of the exchange by hand.
const defaultPause = time.Hour

func newPBXPauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause [DURATION]",
		Short: "Leave the exchange alone while you work on it",
		Long: `Leave the exchange alone for an hour, or for another time (30m, 2h): it is neither
changed nor started, whatever happens to it. Phones are served as before. The pause
ends by itself; 'sae-agent pbx resume' ends it earlier.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := control.PauseOptions{For: defaultPause}
			if len(args) == 1 {
				var err error
				if o.For, err = time.ParseDuration(args[0]); err != nil {
					return &usageError{fmt.Errorf("%q is no duration such as 30m or 2h", args[0])}
				}
			}
			pause, err := ask(cmd, control.PausePBX, o)
			if err != nil {
				return err
			}
			return show(cmd, pause, func(w io.Writer) {
				fmt.Fprintf(w, "The exchange is left alone until %s. 'sae-agent pbx resume' ends that.\n", pause.Until.Local().Format(time.DateTime))
			})
		},
	}
}

func newPBXResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause of the exchange",
		Long:  "End a pause of the exchange: it is made as the file says again, and started when it does not run.",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := ask(cmd, control.ResumePBX, control.None{}); err != nil {
				return err
			}
			return show(cmd, struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "The exchange is looked after again.") })
		},
	}
}
