package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/sae-agent/sae-agent/internal/pause"
)

// Service is a service of this machine that can be restarted.
type Service struct {
	Unit string   // of systemd, with .service
	Argv []string // where no systemd runs: the program, which goes into the background by itself
	// Process and PIDFile say how its process is found: by its name (comm) and number.
	Process, PIDFile string
}

// Runs returns the number of the service's process; 0: there is none.
func (s Service) Runs() int {
	data, err := os.ReadFile(s.PIDFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	// Another process may have the number meanwhile.
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil || strings.TrimSpace(string(comm)) != s.Process {
		return 0
	}
	return pid
}

// Restart restarts a service, or starts one that does not run.
func (s Systemd) Restart(ctx context.Context, service Service) error {
	return s.manage(ctx, service.Unit, "restart", func(c *dbus.Conn, done chan<- string) error {
		_ = c.ResetFailedUnitContext(ctx, service.Unit) // one that has failed too often could not be started
		_, err := c.RestartUnitContext(ctx, service.Unit, "replace", done)
		return err
	})
}

// Restart ends the service's process, also one that hangs, and runs its program.
func (p Plain) Restart(ctx context.Context, service Service) error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := service.end(ctx, signal); err != nil {
			return err
		}
	}
	r, err := p.Run(ctx, Command{Name: service.Process, Argv: service.Argv})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("runner: %s ended with status %d: %s", service.Argv[0], r.Exit, strings.TrimSpace(string(r.Stderr)))
	}
	return err
}

// endTime is how long a process may take to end after a signal.
const endTime = 5 * time.Second

// end sends a signal to the service's process, if there is one, and waits for its end for a while.
func (s Service) end(ctx context.Context, signal syscall.Signal) error {
	pid := s.Runs()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("runner: end %s: %w", s.Process, err)
	}
	deadline := time.Now().Add(endTime)
	for s.Runs() == pid && time.Now().Before(deadline) {
		if !pause.For(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}
