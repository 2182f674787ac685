package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/control"
)

func newRunCommand() *cobra.Command {
	opts := agent.Options{Version: version}
	var debug bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground. It runs the configuration that was applied
last; the first time, the file. SIGHUP applies the file, as 'sae-agent apply' does.
SIGTERM ends it and leaves addresses and routes in place.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.RuntimeDir, _ = cmd.Flags().GetString("runtime-dir")
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			opts.Logger, opts.Journal = newLogger(cmd.ErrOrStderr(), level), toJournal()
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find my own program: %w", err)
			}
			opts.VerifyLeases = func(ctx context.Context, path string) *exec.Cmd {
				return exec.CommandContext(ctx, exe, verifyLeases, path)
			}
			opts.Runner = newRunner(opts.RuntimeDir)
			opts.RollbackCommand = func(pending int) []string {
				return []string{exe, "--runtime-dir", opts.RuntimeDir, "rollback", "--state-dir", opts.StateDir,
					"--resolv-conf", opts.ResolvConf, "--pending", strconv.Itoa(pending)}
			}
			opts.BackupCommand = []string{exe, "--runtime-dir", opts.RuntimeDir, "backup", "create"}
			return run(cmd.Context(), opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.ConfigPath, "config", defaultConfig, "the configuration file")
	f.StringVar(&opts.StateDir, "state-dir", defaultState, "where leases, phones and applied configurations are kept")
	f.StringVar(&opts.ResolvConf, "resolv-conf", defaultResolvConf, "file that gets the WAN's resolvers, when the agent manages the WAN; empty: none")
	f.BoolVar(&debug, "debug", false, "log more")
	return cmd
}

// run runs the daemon and applies the file at each SIGHUP.
func run(ctx context.Context, opts agent.Options) error {
	opts.OnReady = func() { _, _ = systemd.SdNotify(false, systemd.SdNotifyReady) } // without systemd there is nobody to tell
	a, err := agent.New(ctx, opts)
	if err != nil {
		return err
	}
	go feedWatchdog(ctx, a)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				// Apply logs its failure; there is nobody else to tell.
				_, _ = a.Apply(ctx, control.ApplyOptions{})
			}
		}
	}()
	return a.Run(ctx)
}

// feedWatchdog tells systemd's watchdog that the daemon lives, for as long as it
// answers questions.
func feedWatchdog(ctx context.Context, a *agent.Agent) {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, interval/3)
		if a.Alive(limited) {
			_, _ = systemd.SdNotify(false, systemd.SdNotifyWatchdog)
		}
		cancel()
	}
}
