package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newPlanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan",
		Short: "Show what 'apply' would change, and change nothing",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := daemon(cmd).Plan(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, p, func(w io.Writer) { printPlan(w, p, "Nothing to do: the file is what runs.") })
		},
	}
}

func newApplyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply",
		Short: "Check the file and run it",
		Long: `Check the configuration file and, when it is right, run it. A file with an
error changes nothing. What did not change goes on undisturbed.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := daemon(cmd).Apply(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, p, func(w io.Writer) {
				printPlan(w, p, "Nothing changed: the file is what ran already.")
				if len(p.Config) > 0 {
					fmt.Fprintln(w, "Applied.")
				}
			})
		},
	}
}

func printPlan(w io.Writer, p control.Plan, empty string) {
	if len(p.Config) == 0 && len(p.Machine) == 0 {
		fmt.Fprintln(w, empty)
		return
	}
	for _, c := range p.Config {
		switch {
		case c.Old == "":
			fmt.Fprintf(w, "+ %s: %s\n", c.Path, c.New)
		case c.New == "":
			fmt.Fprintf(w, "- %s: %s\n", c.Path, c.Old)
		default:
			fmt.Fprintf(w, "~ %s: %s -> %s\n", c.Path, c.Old, c.New)
		}
	}
	for _, m := range p.Machine {
		fmt.Fprintf(w, "! %s\n", m)
	}
}
