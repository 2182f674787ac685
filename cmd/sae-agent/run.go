package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/lockout"
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
			opts.Runtime, _ = cmd.Flags().GetString("runtime-dir")
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
			opts.Runner = newRunner(opts.Runtime)
			opts.RollbackCommand = func(pending int) []string {
				return []string{exe, "--runtime-dir", opts.Runtime, "rollback", "--state-dir", opts.State,
					"--resolv-conf", opts.ResolvConf, "--pending", strconv.Itoa(pending)}
			}
			opts.BackupCommand = []string{exe, "--runtime-dir", opts.Runtime, "backup", "create"}
			opts.Sessions = lockout.Sessions
			return run(cmd.Context(), opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Config, "config", defaultConfig, "the configuration file")
	f.StringVar(&opts.State, "state-dir", defaultState, "where leases, phones and applied configurations are kept")
	f.StringVar(&opts.ResolvConf, "resolv-conf", defaultResolvConf, "file that gets the WAN's resolvers, when the agent manages the WAN; empty: none")
	f.BoolVar(&debug, "debug", false, "log more")
	return cmd
}

// gcPercent is how much garbage there may be once the daemon is up, in percent of what is in use. Go's own measure is 100: a
// storm of phones takes a tenth less of the processors with it, and the daemon 6 to 12 MB more all year.
const gcPercent = 40

// run runs the daemon and applies the file at each SIGHUP.
func run(ctx context.Context, opts agent.Options) error {
	opts.OnReady = func() {
		_, _ = systemd.SdNotify(false, systemd.SdNotifyReady) // without systemd there is nobody to tell
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
	}
	a, err := agent.New(ctx, opts)
	if err != nil {
		return err
	}
	go feedWatchdog(ctx, a, opts.Logger)
	go profile(ctx, opts.Runtime, opts.Logger)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				_ = a.Apply(ctx) // it logs its failure; there is nobody else to tell
			}
		}
	}()
	return a.Run(ctx)
}

// silentTime is how long a loop may take to answer.
const silentTime = 20 * time.Second

// feedWatchdog tells systemd's watchdog that the daemon lives, for as long as its
// loops answer. One that is silent for longer than silentTime ends the daemon, and
// systemd starts it again.
func feedWatchdog(ctx context.Context, a *agent.Agent, log *slog.Logger) {
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
		limited, cancel := context.WithTimeout(ctx, min(silentTime, interval/3))
		silent := a.Silent(limited)
		cancel()
		if len(silent) > 0 && ctx.Err() == nil {
			log.Error("loops do not answer; systemd restarts the daemon if they stay silent", "loops", silent)
			continue
		}
		_, _ = systemd.SdNotify(false, systemd.SdNotifyWatchdog)
	}
}
