package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newBansCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		bans, err := ask(cmd, control.ListBans, control.None{})
		if err != nil {
			return err
		}
		return show(cmd, bans, func(w io.Writer) { printBans(w, bans, time.Now()) })
	}
	cmd := &cobra.Command{
		Use:   "bans",
		Short: "List who is banned, why and until when",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "The same", Args: usageArgs(cobra.NoArgs), RunE: list},
		newBansRemoveCommand(),
		newBansAddCommand(),
	)
	return cmd
}

func printBans(w io.Writer, bans []control.Ban, now time.Time) {
	if len(bans) == 0 {
		fmt.Fprintln(w, "Nobody is banned.")
		return
	}
	var rows [][]string
	for _, b := range bans {
		attempts := ""
		if b.Attempts > 0 {
			attempts = fmt.Sprint(b.Attempts)
		}
		rows = append(rows, []string{b.Address, b.Jail, dash(b.Reason), dash(attempts), fmt.Sprint(b.Times), ago(now, b.Since), until(now, b.Until)})
	}
	table(w, []string{"ADDRESS", "JAIL", "REASON", "ATTEMPTS", "BANS", "SINCE", "ENDS"}, rows)
}

func newBansRemoveCommand() *cobra.Command {
	var all bool
	var jail string
	cmd := &cobra.Command{
		Use:   "remove ADDRESS | --all",
		Short: "Let somebody in again, or everybody, and forget what they did",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == all {
				return &usageError{errors.New("whose ban? name an address, or say --all")}
			}
			r := control.BanRemoval{All: all, Jail: jail}
			if !all {
				r.Address = args[0]
			}
			removed, err := ask(cmd, control.RemoveBans, r)
			if err != nil {
				return err
			}
			return show(cmd, removed, func(w io.Writer) {
				if len(removed.Addresses) == 0 {
					fmt.Fprintln(w, "It was not banned.")
					return
				}
				fmt.Fprintf(w, "Lifted: %s\n", strings.Join(removed.Addresses, ", "))
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "lift every ban")
	cmd.Flags().StringVar(&jail, "jail", "", "only if this jail has banned it; for fail2ban, which is not told then")
	return cmd
}

func newBansAddCommand() *cobra.Command {
	var b control.BanRequest
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Ban somebody",
		Long: `Ban a sender: nothing that it sends arrives any more, but answers to what was
begun from here. Without --duration the ban grows with each one within a week:
10 minutes, 1 hour, 1 day, 7 days. The LAN, the allow list, containers, registered
phones and the addresses of operators who are logged in are never banned.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.Address = args[0]
			done, err := ask(cmd, control.AddBan, b)
			if err != nil {
				return err
			}
			return show(cmd, done, func(w io.Writer) { fmt.Fprintf(w, "Banned until %s.\n", done.Until.Local().Format(time.DateTime)) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.Jail, "jail", "operator", "who noticed it")
	f.StringVar(&b.Reason, "reason", "", "what it did")
	f.IntVar(&b.Attempts, "attempts", 0, "how often it tried")
	f.DurationVar(&b.Duration, "duration", 0, "how long, such as 1h; 0 grows with each ban")
	return cmd
}
