package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
)

func newPlanCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what 'apply' would change, and change nothing",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := ask(cmd, control.GetPlan, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, p, func(w io.Writer) {
				printPlan(w, p, "Nothing to do: the file is what runs.")
				if verbose {
					for _, r := range p.Rules {
						fmt.Fprintf(w, "! rule: %s\n", r)
					}
				}
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "also show the packet filter's rules")
	return cmd
}

func newApplyCommand() *cobra.Command {
	var o control.ApplyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Check the file and run it",
		Long: `Check the configuration file and, when it is right, run it. A file with an
error changes nothing. What did not change goes on undisturbed.

With '--confirm 2m', the change is undone after two minutes unless 'sae-agent
confirm' comes: even when the daemon or your session has died with it, and at
once by a reboot.

A change that would lock out somebody who is logged in over SSH (the firewall
closes, the address or the route goes) is only made with '--confirm' or '--force'.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Confirm < 0 || (cmd.Flags().Changed("confirm") && o.Confirm < time.Second) {
				return &usageError{errors.New("--confirm is a time of a second or more, such as 2m")}
			}
			p, err := ask(cmd, control.ApplyConfig, o)
			if err != nil {
				return err
			}
			err = show(cmd, p, func(w io.Writer) {
				printPlan(w, p, "Nothing changed: the file is what ran already.")
				switch {
				case !p.Until.IsZero():
					fmt.Fprintf(w, "Applied until %s: 'sae-agent confirm' keeps it.\n", p.Until.Local().Format(time.TimeOnly))
				case len(p.Config) > 0:
					fmt.Fprintln(w, "Applied.")
				}
			})
			return errors.Join(err, behind(p))
		},
	}
	cmd.Flags().DurationVar(&o.Confirm, "confirm", 0, "undo the change after this time unless 'sae-agent confirm' comes")
	cmd.Flags().BoolVar(&o.Force, "force", false, "make the change even if it locks out somebody who is logged in over SSH")
	return cmd
}

// behind is an error that names the parts that have not followed a change.
func behind(p control.Plan) error {
	var errs []error
	for _, b := range p.Behind {
		errs = append(errs, fmt.Errorf("%s does not run as configured yet: %s", b.Part, b.Why))
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("it is tried again by itself: see sae-agent status"))
	}
	return errors.Join(errs...)
}

func printPlan(w io.Writer, p control.Plan, empty string) {
	if len(p.Config) == 0 && len(p.Machine) == 0 && len(p.Rules) == 0 {
		fmt.Fprintln(w, empty)
		return
	}
	for _, c := range p.Config {
		fmt.Fprintln(w, config.Change(c))
	}
	for _, m := range p.Machine {
		fmt.Fprintf(w, "! %s\n", m)
	}
	for _, f := range p.Firewall {
		fmt.Fprintf(w, "! firewall: %s\n", f)
	}
	if len(p.Rules) > 0 && len(p.Firewall) == 0 {
		fmt.Fprintln(w, "! firewall: its rules change, who may reach what does not: see sae-agent plan --verbose")
	}
}
