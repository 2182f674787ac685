package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newStacksCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		all, err := ask(cmd, control.ListStacks, control.None{})
		if err != nil {
			return err
		}
		return show(cmd, all, func(w io.Writer) { printStacks(w, all, time.Now()) })
	}
	cmd := &cobra.Command{
		Use:   "stacks",
		Short: "List, stop, start and update Jitsi and Nextcloud",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List the stacks and their services", Args: usageArgs(cobra.NoArgs), RunE: list},
		newStacksUpCommand(), newStacksBundleCommand(),
		order("stack", "down NAME", "Stop a stack until 'up'; its data stay", "Stopped. Its data are kept.",
			control.StopStack, stackRequest),
		newStacksUpdateCommand(), newStacksLogsCommand(), newStacksShowCommand(), newStacksHistoryCommand(), newInstallDockerCommand(),
	)
	return cmd
}

func stackRequest(name string) control.StackRequest { return control.StackRequest{Stack: name} }

func printStacks(w io.Writer, all []control.Stack, now time.Time) {
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s  %s since %s  %s\n", s.Name, s.State, ago(now, s.Since), s.URL)
		if s.Problem != "" {
			fmt.Fprintf(w, "  %s\n  %s\n", s.Problem, s.Fix)
		}
		if s.Gateway != "" {
			fmt.Fprintf(w, "  SIP gateway %s\n", s.Gateway)
		}
		for _, n := range s.Notes {
			fmt.Fprintf(w, "  %s\n  %s\n", n.What, n.Fix)
		}
		if s.Pull.Image != "" {
			fmt.Fprintf(w, "  fetching %s\n", reader{}.pull(s.Pull))
		}
		var rows [][]string
		for _, v := range s.Services {
			newer := dash(strings.TrimPrefix(s.Available[v.Name], v.Image))
			rows = append(rows, []string{"  " + v.Name, upOrDown(v.Up), dash(v.Status), shortImage(v.Image), shortImage(newer)})
		}
		if len(rows) > 0 {
			table(w, []string{"  SERVICE", "IS", "CONTAINER", "IMAGE", "NEWER"}, rows)
		}
	}
}

func upOrDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// shortImage leaves an image's digest out.
func shortImage(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return name
}

func newStacksUpdateCommand() *cobra.Command {
	var o control.StackUpdateOptions
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Update a stack now, with a backup and a way back",
		Long: `Look for newer images, fetch them, back the stack up, recreate its containers
and wait until they are healthy. If they do not get healthy, images and data become
what they were. An update goes on when this command is interrupted. The exit status
is 1 when the stack was not updated although something newer was found.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Stack = args[0]
			u, err := ask(cmd, control.UpdateStack, o)
			if err != nil {
				return err
			}
			if err := show(cmd, u, func(w io.Writer) { printUpdate(w, u) }); err != nil {
				return err
			}
			if u.Outcome != "updated" {
				return &silentError{}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Major, "major", false, "go to the next major version, if there is one; never past it")
	return cmd
}

func printUpdate(w io.Writer, u control.StackUpdate) {
	if len(u.To) == 0 {
		fmt.Fprintln(w, "Nothing is newer.")
		return
	}
	fmt.Fprintf(w, "%s: %s\n", u.Stack, u.Outcome)
	for _, name := range slices.Sorted(maps.Keys(u.To)) {
		fmt.Fprintf(w, "  %s: %s -> %s\n", name, shortImage(u.From[name]), shortImage(u.To[name]))
	}
	for _, line := range []string{u.Detail, u.Backup} {
		if line != "" {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
}

func newStacksHistoryCommand() *cobra.Command {
	return query("history", "List the updates that were tried", control.ListStackUpdates, func(w io.Writer, all []control.StackUpdate) {
		for _, u := range all {
			fmt.Fprintf(w, "%s  ", u.Time.Local().Format(time.DateTime))
			printUpdate(w, u)
		}
	})
}

func newStacksLogsCommand() *cobra.Command {
	var o control.StackLogOptions
	cmd := &cobra.Command{
		Use:   "logs NAME [SERVICE]",
		Short: "Show what a stack's containers say",
		Args:  usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Lines < 0 {
				return &usageError{errors.New("--lines must not be negative")}
			}
			if len(args) == 2 {
				o.Service = args[1]
			}
			o.Stack = args[0]
			return control.CallText(cmd.Context(), daemon(cmd), control.ReadStackLogs, o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVarP(&o.Lines, "lines", "n", 50, "how many lines of each service")
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on until interrupted")
	return cmd
}

func newStacksShowCommand() *cobra.Command {
	var o control.StackLoginOptions
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a stack's page and, once, the first passwords of its accounts",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Again && os.Geteuid() != 0 {
				return errors.New("only root may have passwords shown again")
			}
			o.Stack = args[0]
			l, err := ask(cmd, control.ShowStackLogins, o)
			if err != nil {
				return err
			}
			return show(cmd, l, func(w io.Writer) { printLogins(w, l) })
		},
	}
	cmd.Flags().BoolVar(&o.Again, "again", false, "show the passwords although they were shown before; root only")
	return cmd
}

func printLogins(w io.Writer, l control.StackLogins) {
	fmt.Fprintln(w, dash(l.URL))
	if l.Shown != "" {
		fmt.Fprintf(w, "%s; --again shows root what they were.\n", l.Shown)
		return
	}
	var rows [][]string
	for _, x := range l.Logins {
		rows = append(rows, []string{x.Account, x.Password})
	}
	if len(rows) > 0 {
		table(w, []string{"ACCOUNT", "FIRST PASSWORD"}, rows)
		fmt.Fprintln(w, "They are shown this once. Change them at the first login.")
	}
}
