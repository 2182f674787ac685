package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Plain runs commands as processes of their own, where there is no systemd.
type Plain struct {
	Dir string // where it notes which processes wait
}

// wait is the shell's part: sleep, then become the command. It begins when its
// input ends: its note is written by then, so that removing it comes after.
const wait = `read -r _; sleep "$1" && shift && rm -f "$1" && shift && exec "$@"`

// After is like Systemd.After. The waiting process is no child of the caller's: it
// lives on when that is killed.
func (p Plain) After(_ context.Context, name string, d time.Duration, argv []string) error {
	if pid := p.waiting(name); pid != 0 {
		return fmt.Errorf("runner: %s waits already, process %d", name, pid)
	}
	hold, begin, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	defer func() { _ = errors.Join(hold.Close(), begin.Close()) }() // and it begins
	seconds := strconv.FormatFloat(d.Seconds(), 'f', 3, 64)
	cmd := exec.Command("/bin/sh", append([]string{"-c", wait, name, seconds, p.file(name)}, argv...)...)
	cmd.Stdin = hold
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	go func() { _ = cmd.Wait() }() // its own affair, but no zombie
	if err := p.note(name, cmd.Process.Pid); err != nil {
		return errors.Join(fmt.Errorf("runner: %w", err), cmd.Process.Kill())
	}
	return nil
}

// note keeps which process waits: its number and its start, since another process
// may have the number later.
func (p Plain) note(name string, pid int) error {
	start, err := started(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(p.file(name), fmt.Appendf(nil, "%d %d", pid, start), 0o600)
}

// started returns when a process was started, in clock ticks since boot.
func started(pid int) (uint64, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	return stat.Starttime, err
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
	var pid int
	var start uint64
	if _, err := fmt.Sscan(string(data), &pid, &start); err != nil {
		return 0
	}
	if now, err := started(pid); err != nil || now != start {
		return 0
	}
	return pid
}
