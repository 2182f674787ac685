package main

import (
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newCallsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "calls",
		Short: "List the calls that go on, and the last ones that have ended",
		Long: `List the calls that go on, and below them those that have ended since the daemon was
started, the newest first; at most 200. 'sae-agent logs' has those before.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			calls, err := ask(cmd, control.ListCalls, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, calls, func(w io.Writer) { printCalls(w, calls) })
		},
	}
}

func printCalls(w io.Writer, calls control.Calls) {
	var rows [][]string
	for _, c := range slices.Concat(calls.Now, calls.Recent) {
		talked := "-"
		if c.Talked > 0 {
			talked = c.Talked.Round(time.Second).String()
		}
		rows = append(rows, []string{c.Began.Local().Format(time.DateTime), named(c.From, c.FromName), named(c.To, c.ToName), c.State, talked})
	}
	table(w, []string{"BEGAN", "FROM", "TO", "STATE", "TALKED"}, rows)
}

// named is a number with the name of who has it.
func named(number, name string) string {
	if name == "" {
		return dash(number)
	}
	return number + " " + name
}
