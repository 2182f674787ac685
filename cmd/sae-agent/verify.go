package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Try for real what the appliance is for, and say what does not work",
		Long: `Do what a person does at the end of an installation. Two test accounts are made
at the exchange; one calls the other, and both must hear each other; voice mail
and the echo test are called; the secret of every extension and every registered
phone is tried. The test accounts are removed at the end. Phones do not ring.
It takes about a minute. The exit status is 1 when something does not work.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readerOf(cmd)
			if err != nil {
				return err
			}
			v, err := ask(cmd, control.RunVerification, control.None{})
			if err != nil {
				return err
			}
			if err := show(cmd, v, func(w io.Writer) { r.verification(w, v) }); err != nil {
				return err
			}
			if !v.Passed {
				return &silentError{}
			}
			return nil
		},
	}
	addLanguage(cmd)
	return cmd
}

// verification prints what was tried, and what came of it.
func (r reader) verification(w io.Writer, v control.Verification) {
	count := make(map[control.Outcome]int)
	for _, c := range v.Checks {
		count[c.Outcome]++
		fmt.Fprintf(w, "%-9s  %s", r.Sentence(string(c.Outcome)), r.Sentence(c.What))
		if c.Seen != "" {
			fmt.Fprintf(w, " (%s)", r.Sentence(c.Seen))
		}
		fmt.Fprintln(w)
		for _, p := range c.Problems {
			fmt.Fprintf(w, "           %s\n             %s\n", r.Sentence(p.What), r.Format("fix: %s", r.Sentence(p.Fix)))
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.Format("%d checks passed, %d failed, %d were not tried; it took %s.",
		count[control.Passed], count[control.Failed], count[control.NotTried], short(v.Took)))
}
