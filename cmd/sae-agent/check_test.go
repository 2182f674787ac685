package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// A file that never ends to be read does not keep check from ending: SIGTERM ends it.
func TestSIGTERMEndsCheck(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := lab.Self()
	if err != nil {
		t.Fatal(err)
	}
	h := labtest.New(t).Host("appliance")
	check := h.Start("env", programEnv+"=1", exe, "check", "--config", fifo)
	labtest.Eventually(t, func() error { // it reads
		f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
		return err
	})
	if err := check.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		select {
		case <-check.Done():
			return nil
		default:
			return errors.New("it goes on")
		}
	})
	var exit *exec.ExitError
	if err := check.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("%v\n%s", err, check.Output())
	}
}
