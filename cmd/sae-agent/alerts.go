package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newAlertsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Mails and webhooks that tell of problems",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAlertsTestCommand())
	return cmd
}

func newAlertsTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Send a test message to everybody whom the file names under alerts",
		Long: `Send a test message to everybody whom the file names under alerts, and say who
has taken it. The exit status is 1 when somebody has not.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(cmd, control.TestAlerts, control.None{})
			if err != nil {
				return err
			}
			if err := show(cmd, list, func(w io.Writer) { printDeliveries(w, list) }); err != nil {
				return err
			}
			if slices.ContainsFunc(list, func(d control.AlertDelivery) bool { return d.Error != "" }) {
				return &silentError{}
			}
			return nil
		},
	}
}

func printDeliveries(w io.Writer, list []control.AlertDelivery) {
	for _, d := range list {
		if d.Error != "" {
			fmt.Fprintf(w, "%s: not delivered: %s\n", d.Target, d.Error)
		} else {
			fmt.Fprintf(w, "%s: delivered\n", d.Target)
		}
	}
}
