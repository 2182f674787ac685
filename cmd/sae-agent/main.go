// Command sae-agent is the appliance's daemon and its operator commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
)

// Exit statuses of every command.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitConfig is the daemon's when it has no configuration to begin with, or a state that it
	// cannot read (EX_CONFIG of sysexits(3)): it is not started again until somebody has mended that.
	exitConfig = 78
)

// verifyLeases is no operator's command: the daemon calls itself so, to look at
// a lease file in a process of its own.
const verifyLeases = "verify-leases"

// version is set by the build.
var version = "devel"

func main() {
	if len(os.Args) == 3 && os.Args[1] == verifyLeases {
		os.Exit(leasedb.VerifyMain(os.Args[2], os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command and returns its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var unready *agent.NoConfigError
	var later *format.LaterError
	var silent *silentError
	if errors.As(err, &silent) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "sae-agent: %v\n", err)
	var refused *control.Error
	if errors.As(err, &refused) {
		for _, d := range refused.Details {
			fmt.Fprintln(stderr, d)
		}
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	}
	if errors.As(err, &unready) || cmd.Name() == "run" && errors.As(err, &later) {
		return exitConfig
	}
	return exitFailed
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// silentError ends a command with exit status 1 after it has said everything itself.
type silentError struct{}

func (*silentError) Error() string { return "failed" }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sae-agent",
		Short: "Telephony, meetings and files on one Debian machine, from one file",
		Long: `sae-agent turns a Debian 12 machine with two network cards into a multimedia
appliance. It reads /etc/sae-agent/config.yaml, keeps the machine as the file
says, and gives every phone on the LAN its address, its file and its line.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().String("runtime-dir", "/run/sae-agent", "where the daemon's socket is")
	root.PersistentFlags().Bool("json", false, "print JSON")
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"begin", "Begin:", []*cobra.Command{newInitCommand(), newImportCommand(), newTakeoverCommand()}},
		{"daily", "Every day:", []*cobra.Command{
			newStatusCommand(), newPhonesCommand(), newExtensionsCommand(), newGroupsCommand(), newCallsCommand(), newLeasesCommand(), newLogsCommand(), newModelsCommand(), newConsoleCommand(),
		}},
		{"change", "Change the configuration:", []*cobra.Command{
			newCheckCommand(), newPlanCommand(), newApplyCommand(), newConfirmCommand(), newRollbackCommand(),
		}},
		{"wrong", "When something is wrong:", []*cobra.Command{newDoctorCommand(), newVerifyCommand(), newBansCommand(), newFirewallCommand(), newAlertsCommand()}},
		{"servers", "Servers and copies:", []*cobra.Command{newPBXCommand(), newStacksCommand(), newBackupCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newRunCommand(), newBootCommand(), newVersionCommand())
	return root
}

// usageArgs makes an argument check fail with exit status 2.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// daemon returns a client of the daemon that --runtime-dir names.
func daemon(cmd *cobra.Command) *control.Client {
	dir, _ := cmd.Flags().GetString("runtime-dir")
	return control.NewClient(dir)
}

// ask has that daemon carry an operation out.
func ask[Req, Resp any](cmd *cobra.Command, op control.Operation[Req, Resp], req Req) (Resp, error) {
	return control.Call(cmd.Context(), daemon(cmd), op, req)
}
