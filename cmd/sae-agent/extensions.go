package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newExtensionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "extensions",
		Short: "List the extensions: their phones, who is registered from where, who talks",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(cmd, control.ListExtensions, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, list, func(w io.Writer) { printExtensions(w, list) })
		},
	}
}

// printExtensions writes a line for each device: an extension can have several.
func printExtensions(w io.Writer, list []control.Extension) {
	var rows [][]string
	for _, e := range list {
		inCall := "-"
		if e.InCall {
			inCall = "yes"
		}
		first := []string{e.Number, e.Name, dash(strings.Join(e.Phones, " "))}
		if len(e.Registrations) == 0 {
			rows = append(rows, append(first, "-", "-", "-", inCall, dash(e.Trouble)))
		}
		for i, r := range e.Registrations {
			if i > 0 {
				first = []string{"", "", ""}
			}
			rows = append(rows, append(first, r.Address, dash(r.UserAgent), roundTrip(r), inCall, dash(e.Trouble)))
		}
	}
	table(w, []string{"EXT", "NAME", "PHONE", "REGISTERED FROM", "DEVICE", "ROUND TRIP", "IN CALL", "TROUBLE"}, rows)
}

func roundTrip(r control.Registration) string {
	if r.Reach == "unreachable" {
		return "does not answer"
	}
	if r.RoundTrip == 0 {
		return "-"
	}
	return r.RoundTrip.Round(100 * time.Microsecond).String()
}
