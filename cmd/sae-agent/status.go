package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// watchEvery is how often --watch looks again.
const watchEvery = 2 * time.Second

func newStatusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the appliance is, what is wrong first",
		Long: `Show how the appliance is on one screen: what is wrong, with its fix, then the
network, DHCP, the phones and the parts. The exit status is 0 when nothing is
wrong, else 1. It is coloured on a terminal, unless NO_COLOR is set.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watchStatus(cmd)
			}
			st, err := ask(cmd, control.GetStatus, control.None{})
			if err != nil {
				return err
			}
			if err := show(cmd, st, func(w io.Writer) { printStatus(w, st, time.Now()) }); err != nil {
				return err
			}
			isError := func(p problem.Problem) bool { return p.Severity == problem.Error }
			if slices.ContainsFunc(st.Problems, isError) {
				return &silentError{}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "look again every two seconds, until interrupted")
	return cmd
}

// watchStatus shows the status again and again until interrupted. A daemon that is
// being restarted is waited for.
func watchStatus(cmd *cobra.Command) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var screen bytes.Buffer // shown at once, so that it does not flicker
		if st, err := control.Call(ctx, daemon(cmd), control.GetStatus, control.None{}); err == nil {
			printStatusFor(&screen, w, st, time.Now())
		} else if ctx.Err() == nil {
			fmt.Fprintf(&screen, "sae-agent: %v\n", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, _, ok := terminal(w); ok {
			_, _ = io.WriteString(w, "\x1b[H\x1b[2J")
		}
		if _, err := w.Write(append(screen.Bytes(), '\n')); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func printStatus(w io.Writer, st control.Status, now time.Time) { printStatusFor(w, w, st, now) }

// printStatusFor prints a status to w so that it fits the screen, if that is a
// terminal: what is wrong first, as much of it as there is room for.
func printStatusFor(w, screen io.Writer, st control.Status, now time.Time) {
	p := painter(screen)
	var rest bytes.Buffer
	printRest(&rest, p, st, now)
	room := len(st.Problems)
	if _, rows, ok := terminal(screen); ok {
		const lines = 3 // of a problem; as many around them
		room = max(1, (rows-bytes.Count(rest.Bytes(), []byte("\n"))-lines)/lines)
	}
	fmt.Fprintf(w, "%s  sae-agent %s, up %s  %s\n", p.in(bold, st.Site), st.Version, short(now.Sub(st.Started)), verdict(p, st.Problems))
	for i, problem := range st.Problems {
		if i == room {
			fmt.Fprintf(w, "\nand %d more: sae-agent status | less\n", len(st.Problems)-room)
			break
		}
		printProblem(w, p, problem)
	}
	_, _ = w.Write(rest.Bytes()) // to a terminal or a pipe that may have gone
}

// printRest prints how the parts are.
func printRest(w io.Writer, p paint, st control.Status, now time.Time) {
	fmt.Fprintf(w, "\nConfiguration  %.12s, applied %s\n", st.Config.Applied, ago(now, st.Config.AppliedAt))
	if c := st.Console; c.URL != "" {
		fmt.Fprintf(w, "Console        %s\n               certificate's SHA-256 %s\n", c.URL, c.Fingerprint)
	}
	printNetwork(w, st.Network)
	printDHCP(w, st.DHCP)
	printQoS(w, st.QoS)
	printPBXLine(w, st.PBX)
	printServices(w, st.Services, now)
	printStackStates(w, st.Stacks)
	printPhoneCounts(w, st.Phones)
	printParts(w, p, st.Parts, now)
}

// verdict is the status in a few words.
func verdict(p paint, problems []problem.Problem) string {
	count := make(map[problem.Severity]int)
	for _, problem := range problems {
		count[problem.Severity]++
	}
	errors, warnings := plural(count[problem.Error], "error"), plural(count[problem.Warning], "warning")
	switch {
	case len(problems) == 0:
		return p.in(green, "Everything is fine.")
	case count[problem.Error] == 0:
		return p.in(yellow, warnings)
	case count[problem.Warning] == 0:
		return p.in(red, errors)
	}
	return p.in(red, errors) + ", " + p.in(yellow, warnings)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func printProblem(w io.Writer, p paint, found problem.Problem) {
	colour := yellow
	if found.Severity == problem.Error {
		colour = red
	}
	fmt.Fprintf(w, "\n%s: %s: %s\n", p.in(colour, string(found.Severity)), found.Part, found.What)
	if found.Fix != "" {
		fmt.Fprintf(w, "  fix: %s\n", found.Fix)
	}
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
	switch {
	case d.Starting:
		state = "starting: " + d.Reason
	case !d.Serving:
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

// printParts names the parts that run, in a line, and says why others do not.
func printParts(w io.Writer, p paint, parts []control.PartStatus, now time.Time) {
	var running []string
	for _, part := range parts {
		if part.State == control.PartRunning {
			running = append(running, part.Name)
		}
	}
	fmt.Fprintf(w, "Parts          %s run\n", dash(strings.Join(running, ", ")))
	for _, part := range parts {
		if part.State == control.PartStarting && part.LastError == "" {
			fmt.Fprintf(w, "               %s starting\n", part.Name)
		} else if part.State != control.PartRunning {
			state := p.in(red, string(part.State))
			fmt.Fprintf(w, "               %s %s (%s), %s: %s\n", part.Name, state, ago(now, part.Since), fmt.Sprint(part.Retries, " retries"), part.LastError)
		}
	}
}
