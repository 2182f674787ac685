package leasedb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Bounds of one verification. 50,000 leases take a tenth of a second and 20 MB;
// what needs more than this walks in circles.
const (
	verifyCPU     = 20 * time.Second
	verifyTimeout = time.Minute
	verifyMemory  = 256 << 20 // bytes
	verifyStack   = 16 << 20  // bytes
	verifyOutput  = 2 << 10   // bytes of what the child says that are kept
)

// A verifying child says hello before it touches the file, so that a command
// which is not ours at all (a usage error ends with status 2, like a panic) is
// never taken for the verdict on a file.
const verifyHello = "verifying\n"

// Exit statuses of a verifying child. Others come from a crash.
const (
	exitSound   = 0
	exitCorrupt = 3
	exitUnknown = 4 // the file could not be looked at
	exitNewer   = 5
)

// Verify walks every page, bucket and key of the store at path without changing
// it. The error wraps ErrCorrupt when the file is not a sound store, ErrNewer
// when a later program wrote it; any other error says nothing about the content.
// Single records with a wrong checksum are no error: Open drops them.
//
// On a damaged file it may panic, fault or use memory without end: run it in a
// child process, by VerifyMain and VerifyBy.
func Verify(path string) error {
	return verify(path, func(tx *bbolt.Tx) error {
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = fmt.Errorf("%w: %v", ErrCorrupt, err)
			}
		}
		return first
	})
}

func verify(path string, check func(*bbolt.Tx) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < 4*pageSize {
		return fmt.Errorf("%w: %d bytes are too short for a lease file", ErrCorrupt, info.Size())
	}
	db, err := bbolt.Open(path, fileMode, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return openError(err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		if err := check(tx); err != nil {
			return err
		}
		_, err := takeSurvey(tx)
		return err
	})
}

// verifyHere is Verify for a caller that gave no way to run a child. It catches
// what a fault or panic in this goroutine can be caught of, and leaves out
// bbolt's own check, which runs in a goroutine of its own.
func verifyHere(_ context.Context, path string) error {
	return guard("verify", func() error {
		return verify(path, func(*bbolt.Tx) error { return nil })
	})
}

// VerifyMain is the whole life of a verifying child: it runs Verify, watches what
// that takes, and returns the exit status that VerifyBy understands.
//
// The bounds are its own and not the kernel's: a process that hits a limit of the
// system cannot tell a bad file from a machine that is short of something.
func VerifyMain(path string, stdout, stderr io.Writer) int {
	debug.SetMaxStack(verifyStack)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	fmt.Fprint(stdout, verifyHello)
	done := make(chan error, 1)
	go func() { done <- Verify(path) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return exitStatus(err, stderr)
		case <-tick.C:
			if usedCPU() > verifyCPU || usedMemory() > verifyMemory {
				fmt.Fprintf(stderr, "walking its pages has no end (%v, %d bytes)\n", usedCPU(), usedMemory())
				return exitCorrupt
			}
		}
	}
}

func exitStatus(err error, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	switch {
	case err == nil:
		return exitSound
	case errors.Is(err, ErrCorrupt):
		return exitCorrupt
	case errors.Is(err, ErrNewer):
		return exitNewer
	}
	return exitUnknown
}

func usedCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func usedMemory() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// VerifyBy returns an Options.Verify that runs command, which must end in
// os.Exit(VerifyMain(path, os.Stdout, os.Stderr)). A child that panics or faults says
// that the file is damaged; one that cannot be started, is killed, lacks memory or
// sees no end within a minute says nothing.
func VerifyBy(command func(ctx context.Context, path string) *exec.Cmd) func(ctx context.Context, path string) error {
	return func(ctx context.Context, path string) error {
		ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
		defer cancel()
		hello, said := &head{max: len(verifyHello)}, &head{max: verifyOutput}
		cmd := command(ctx, path)
		cmd.Stdout, cmd.Stderr = hello, said
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("verification was cut short: %w", ctx.Err())
		case string(hello.buf) != verifyHello:
			return fmt.Errorf("verification did not start: %w: %s", err, firstLine(string(said.buf)))
		case err == nil:
			return nil
		}
		return verdict(err, string(said.buf))
	}
}

// verdict turns the end of a child that looked at the file into an error.
func verdict(err error, said string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("verification failed: %w", err)
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	switch {
	case status.ExitStatus() == exitNewer:
		return ErrNewer
	case status.ExitStatus() == exitCorrupt, crashed(status, said):
		return fmt.Errorf("%w: %v: %s", ErrCorrupt, err, firstLine(said))
	}
	return fmt.Errorf("verification failed: %w: %s", err, firstLine(said))
}

// crashed reports whether the child ended as bad pages end it. A runtime that gives
// up for want of memory or threads ends with the same status, and is no proof.
func crashed(status syscall.WaitStatus, said string) bool {
	const ofRuntime = 2
	switch {
	case status.Signaled():
		return status.Signal() == syscall.SIGSEGV || status.Signal() == syscall.SIGBUS
	case status.ExitStatus() != ofRuntime:
		return false
	}
	for _, sign := range []string{"panic: ", "unexpected fault address", "[signal SIG", "stack exceeds"} {
		if strings.Contains(said, sign) {
			return true
		}
	}
	return false
}

// head keeps the first bytes written to it: a crash prints its reason first and
// then many stacks.
type head struct {
	max int
	buf []byte
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.max - len(h.buf); room > 0 {
		h.buf = append(h.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
