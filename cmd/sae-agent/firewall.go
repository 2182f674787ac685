package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newFirewallCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "firewall",
		Short: "Show the rules, and ask them what becomes of a connection",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFirewallShowCommand(), newFirewallTestCommand())
	return cmd
}

func newFirewallShowCommand() *cobra.Command {
	return query("show", "Print the rules that are in force", control.GetFirewall, func(w io.Writer, f control.Firewall) { printFirewall(w, f, time.Now()) })
}

func printFirewall(w io.Writer, f control.Firewall, now time.Time) {
	switch {
	case f.Problem != "":
		fmt.Fprintf(w, "# %s\n", f.Problem)
	case !f.Active:
		fmt.Fprintln(w, "No rules of ours are in force.")
		return
	}
	fmt.Fprintf(w, "# Loaded %s, put back %d times.\n%s", ago(now, f.Since), f.Repairs, f.Rules)
}

func newFirewallTestCommand() *cobra.Command {
	var q control.FirewallQuestion
	cmd := &cobra.Command{
		Use:   "test FROM PROTOCOL [PORT]",
		Short: "Say whether a connection may pass, and which rule decides",
		Long: `Say whether a new connection may pass, and which rule decides. FROM is a zone
(wan, lan, docker, trusted) or an address, for which bans and the allow list count.
PROTOCOL is tcp, udp or icmp. The exit status is 0 when it may pass, else 1.`,
		Args: usageArgs(cobra.RangeArgs(2, 3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.From, q.Protocol = args[0], args[1]
			if len(args) == 3 {
				port, err := strconv.ParseUint(args[2], 10, 16)
				if err != nil {
					return &usageError{fmt.Errorf("%q is not a port", args[2])}
				}
				q.Port = uint16(port)
			}
			answer, err := ask(cmd, control.TestFirewall, q)
			if err != nil {
				return err
			}
			if err := show(cmd, answer, func(w io.Writer) { printAnswer(w, answer) }); err != nil {
				return err
			}
			if !answer.Accept {
				return &silentError{}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&q.To, "to", "local", "where it goes: local (this machine), wan, lan, docker")
	return cmd
}

func printAnswer(w io.Writer, a control.FirewallAnswer) {
	verdict := "DROPPED"
	if a.Accept {
		verdict = "passes"
	}
	fmt.Fprintf(w, "%s: %s\n", verdict, dash(a.Why))
	if a.Rule != "" {
		fmt.Fprintf(w, "  decided in %s: %s\n", a.Chain, a.Rule)
	}
}
