package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/supervisor"
)

func newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the appliance is, what is wrong first",
		Long: `Show how the appliance is: what is wrong, with its fix, then the parts, the
network, DHCP and the phones. The exit status is 0 when nothing is wrong, else 1.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := daemon(cmd).Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := show(cmd, st, func(w io.Writer) { printStatus(w, st, time.Now()) }); err != nil {
				return err
			}
			isError := func(p control.Problem) bool { return p.Severity == control.SeverityError }
			if slices.ContainsFunc(st.Problems, isError) {
				return &silentError{}
			}
			return nil
		},
	}
}

func printStatus(w io.Writer, st control.Status, now time.Time) {
	fmt.Fprintf(w, "%s, sae-agent %s, up %s\n", st.Site, st.Version, short(now.Sub(st.Started)))
	if len(st.Problems) == 0 {
		fmt.Fprintln(w, "Everything is fine.")
	}
	for _, p := range st.Problems {
		fmt.Fprintf(w, "\n%s: %s: %s\n", p.Severity, p.Part, p.What)
		if p.Fix != "" {
			fmt.Fprintf(w, "  fix: %s\n", p.Fix)
		}
	}
	fmt.Fprintf(w, "\nConfiguration  %.12s, applied %s\n", st.Config.Applied, ago(now, st.Config.AppliedAt))
	printNetwork(w, st.Network)
	printDHCP(w, st.DHCP)
	printQoS(w, st.QoS)
	printPhoneCounts(w, st.Phones)
	printParts(w, st.Parts, now)
}

func printNetwork(w io.Writer, links []control.NetworkLink) {
	for _, l := range links {
		state := "down"
		if l.Up {
			state = "up"
		}
		fmt.Fprintf(w, "%-13s  %s (%s) %s %s", strings.ToUpper(l.Role), l.Name, l.Method, state, strings.Join(l.Addresses, " "))
		if l.Gateway != "" {
			fmt.Fprintf(w, " via %s", l.Gateway)
		}
		fmt.Fprintln(w)
	}
}

func printDHCP(w io.Writer, d control.DHCPStatus) {
	state := "serving"
	if !d.Serving {
		state = "silent: " + d.Reason
	}
	fmt.Fprintf(w, "DHCP           %s, %d of %d addresses used\n", state, d.PoolUsed, d.PoolSize)
}

func printPhoneCounts(w io.Writer, counts map[string]int) {
	var states []string
	for s := range counts {
		states = append(states, s)
	}
	slices.Sort(states)
	var words []string
	for _, s := range states {
		words = append(words, fmt.Sprintf("%d %s", counts[s], s))
	}
	fmt.Fprintf(w, "Phones         %s\n", dash(strings.Join(words, ", ")))
}

func printParts(w io.Writer, parts []supervisor.Status, now time.Time) {
	fmt.Fprintln(w)
	var rows [][]string
	for _, p := range parts {
		note := "-"
		if p.State != supervisor.Running {
			note = p.LastError
		}
		rows = append(rows, []string{p.Name, string(p.State), ago(now, p.Since), fmt.Sprint(p.Retries), note})
	}
	table(w, []string{"PART", "STATE", "SINCE", "RETRIES", "WHY"}, rows)
}
