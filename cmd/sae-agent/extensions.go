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

func newExtensionsCommand() *cobra.Command {
	cmd := &cobra.Command{
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
	cmd.AddCommand(newExtensionsSecretCommand(), newExtensionsRotateCommand())
	return cmd
}

func newExtensionsSecretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secret EXTENSION",
		Short: "Show the secret of an extension, for a device that is set up by hand",
		Long: `Show the secret that the exchange has for an extension, for a device that is set up
by hand. Who asked is logged.`,
		Args: usageArgs(cobra.ExactArgs(1)),

		ValidArgsFunction: completeExtensions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := ask(cmd, control.ShowSecret, control.SecretRequest{Extension: args[0]})
			if err != nil {
				return err
			}
			return show(cmd, s, func(w io.Writer) { fmt.Fprintln(w, s.Secret) })
		},
	}
}

func newExtensionsRotateCommand() *cobra.Command {
	var r control.Rotation
	cmd := &cobra.Command{
		Use:   "rotate {EXTENSION... | --all}",
		Short: "Give extensions new secrets: whoever has the old one is out",
		Long: `Give extensions new secrets, at the exchange and in the phones' files, and end the
registrations of all other devices: these must be given the new one ('sae-agent
phones qr', 'sae-agent extensions secret'). A secret that is in the configuration
file is changed there. During a call, its extension's secret waits for the end of it.`,
		Args: usageArgs(cobra.ArbitraryArgs),

		ValidArgsFunction: completeExtensions(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.All == (len(args) > 0) {
				return &usageError{errors.New("which extensions? either their numbers, or --all")}
			}
			r.Extensions = args
			p, err := ask(cmd, control.RotateSecrets, r)
			if err != nil {
				return err
			}
			return showEdit(cmd, p, r.EditOptions, "Done. Phones fetch their new secrets; other devices must be given them.")
		},
	}
	cmd.Flags().BoolVar(&r.All, "all", false, "all extensions")
	editFlags(cmd, &r.EditOptions)
	return cmd
}

// printExtensions writes a line for each device: an extension can have several.
func printExtensions(w io.Writer, list []control.ExtensionStatus) {
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
