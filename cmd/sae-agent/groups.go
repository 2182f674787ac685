package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newGroupsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "groups",
		Short: "List the groups: who rings, in which order, and for how long",
		Long: `List the groups of the configuration that runs: who rings, in which order, and after
how long a caller whom nobody answers is hung up on. With FreePBX there are none
here: it has them in its web interface.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(cmd, control.ListGroups, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, list, func(w io.Writer) { printGroups(w, list) })
		},
	}
}

func printGroups(w io.Writer, list []control.RingGroup) {
	var rows [][]string
	for _, g := range list {
		var members []string
		for _, m := range g.Members {
			members = append(members, named(m.Number, m.Name))
		}
		rows = append(rows, []string{g.Number, g.Name, g.Strategy, strings.Join(members, ", "), fmt.Sprintf("hangs up after %v at most", g.GivesUp)})
	}
	table(w, []string{"NUMBER", "NAME", "STRATEGY", "MEMBERS", "NO ANSWER"}, rows)
}
