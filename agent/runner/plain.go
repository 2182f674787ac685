package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Plain runs commands as processes of their own, where there is no systemd.
type Plain struct {
	Dir string // where it notes which processes wait
}

// wait is the shell's part: sleep, then become the command.
const wait = `sleep "$1" && shift && rm -f "$1" && shift && exec "$@"`

// After is like Systemd.After. The waiting process is no child of the caller's: it
// lives on when that is killed.
func (p Plain) After(_ context.Context, name string, d time.Duration, argv []string) error {
	if pid := p.waiting(name); pid != 0 {
		return fmt.Errorf("runner: %s waits already, process %d", name, pid)
	}
	seconds := strconv.FormatFloat(d.Seconds(), 'f', 3, 64)
	cmd := exec.Command("/bin/sh", append([]string{"-c", wait, name, seconds, p.file(name)}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	go func() { _ = cmd.Wait() }() // its own affair, but no zombie
	if err := os.WriteFile(p.file(name), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("runner: %w", err), cmd.Process.Kill())
	}
	return nil
}

// Cancel is like Systemd.Cancel.
func (p Plain) Cancel(_ context.Context, name string) error {
	pid := p.waiting(name)
	if pid == 0 {
		return nil
	}
	// The whole group, for the shell's sleep.
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("runner: cancel %s: %w", name, err)
	}
	return os.Remove(p.file(name))
}

func (p Plain) file(name string) string { return filepath.Join(p.Dir, name+".pid") }

// waiting returns the process that waits under a name, or 0.
func (p Plain) waiting(name string) int {
	data, err := os.ReadFile(p.file(name))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	// Another process may have the number meanwhile.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(args), "\x00"+name+"\x00") {
		return 0
	}
	return pid
}
