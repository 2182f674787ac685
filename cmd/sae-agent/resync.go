package main

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newPhonesResyncCommand() *cobra.Command {
	return askPhonesCommand(control.ResyncPhones, time.Minute, &cobra.Command{
		Use:   "resync MAC | --all",
		Short: "Make phones fetch their files again, without a restart",
		Long: `Ask phones, through the exchange, to fetch their files again. They do not
restart. It is done for a phone only when that was seen to fetch its file; the
exit status is 0 when all have.`,
	})
}

func newPhonesRestartCommand() *cobra.Command {
	return askPhonesCommand(control.RestartPhones, 3*time.Minute, &cobra.Command{
		Use:   "restart MAC | --all",
		Short: "Restart phones that are not in a call",
		Long: `Ask phones, through the exchange, to restart. One that is in a call is left
alone. It is done for a phone only when that was seen to fetch its file, which
it does once it has started; the exit status is 0 when all have.`,
	})
}

// askPhonesCommand completes a command that asks phones for what ends with fetching their files.
func askPhonesCommand(op control.Operation[control.ResyncOptions, []control.Resync], wait time.Duration, cmd *cobra.Command) *cobra.Command {
	o := control.ResyncOptions{Wait: wait}
	var all bool
	cmd.Args = usageArgs(cobra.MaximumNArgs(1))
	cmd.ValidArgsFunction = completeMACs(1, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) == 1) {
			return &usageError{errors.New("name one phone by its MAC, or all of them by --all")}
		}
		if len(args) == 1 {
			o.MAC = args[0]
		}
		list, err := ask(cmd, op, o)
		if err != nil {
			return err
		}
		if err := show(cmd, list, func(w io.Writer) { printResyncs(w, list) }); err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(r control.Resync) bool { return r.State != control.ResyncDone && r.State != control.ResyncAsked }) {
			return &silentError{}
		}
		return nil
	}
	cmd.Flags().BoolVar(&all, "all", false, "every phone that has an extension")
	cmd.Flags().DurationVar(&o.Wait, "wait", o.Wait, "for how long to wait for phones to fetch, 5m at most; 0: do not wait")
	return cmd
}

func printResyncs(w io.Writer, list []control.Resync) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.MAC, r.Extension, string(r.State), dash(r.Detail)})
	}
	table(w, []string{"MAC", "EXT", "STATE", "WHY"}, rows)
}
