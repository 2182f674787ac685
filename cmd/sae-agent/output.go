package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

// show prints v as JSON when --json is given, else calls text.
func show(cmd *cobra.Command, v any, text func(io.Writer)) error {
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	text(cmd.OutOrStdout())
	return nil
}

// order makes a command that has the daemon do one thing with what its argument
// names; as JSON it prints the name under key.
func order[Req any](key, use, short, done string, op control.Operation[Req, control.None], request func(name string) Req) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := ask(cmd, op, request(args[0])); err != nil {
				return err
			}
			return show(cmd, map[string]string{key: args[0]}, func(w io.Writer) { fmt.Fprintln(w, done) })
		},
	}
}

// query makes a command that shows what the daemon answers to a question without arguments.
func query[Resp any](use, short string, op control.Operation[control.None, Resp], text func(io.Writer, Resp)) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := ask(cmd, op, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, answer, func(w io.Writer) { text(w, answer) })
		},
	}
}

// table prints rows under a head, in columns.
func table(w io.Writer, head []string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	_ = tw.Flush() // to a terminal or a pipe that may have gone
}

// ago says how long ago t was; "never" when it was not.
func ago(now, t time.Time) string { return reader{}.ago(now, t) }

// until says how long it is until t.
func until(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if !t.After(now) {
		return "over"
	}
	return "in " + short(t.Sub(now))
}

// short rounds a duration to what a person reads at a glance.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
