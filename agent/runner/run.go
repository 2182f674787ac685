package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// maxOutput bounds what is kept of each of a command's outputs: its end.
const maxOutput = 1 << 20

// Command is a program to run to its end.
//
// Argv and Env can be read by everybody on the machine while it runs (ps(1),
// systemctl(1) show): a secret goes in through Stdin.
type Command struct {
	Name  string   // of the transient unit, without .service; one at a time
	Argv  []string // the program's path or name first
	Env   []string // KEY=value, besides a minimal environment
	Dir   string   // working directory; empty: the root directory
	Stdin []byte
	// Stdout, when set, gets what the program writes to its standard output, in the
	// place of Result.Stdout.
	Stdout io.Writer
}

// Result is how a program ended.
type Result struct {
	Exit           int    // exit status; -1 when a signal ended it
	Stdout, Stderr []byte // the last MiB of each
}

// tail keeps the end of what is written.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	t.buf.Write(b)
	if over := t.buf.Len() - maxOutput; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

// Run runs a command as a transient unit of its own, outside of the daemon's
// sandbox, and waits for its end. A unit of the same name that an earlier daemon
// has left is stopped first. The error is about running it at all: how it ended
// is in the result. When ctx ends, the unit is stopped.
func (s Systemd) Run(ctx context.Context, c Command) (Result, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer conn.Close()
	unit := c.Name + ".service"
	if err := stopUnit(ctx, conn, unit); err != nil {
		return Result{}, fmt.Errorf("runner: stop the old %s: %w", unit, err)
	}
	program, err := exec.LookPath(c.Argv[0])
	if err != nil {
		return Result{}, fmt.Errorf("runner: %w", err)
	}
	pipes, err := newPipes(c)
	if err != nil {
		return Result{}, fmt.Errorf("runner: %w", err)
	}
	defer pipes.close()
	properties := append(pipes.properties(),
		dbus.PropDescription("sae-agent: "+c.Name), dbus.PropType("oneshot"),
		dbus.PropExecStart(append([]string{program}, c.Argv[1:]...), false),
		dbus.Property{Name: "Environment", Value: godbus.MakeVariant(append([]string{"HOME=/root"}, c.Env...))})
	if c.Dir != "" {
		properties = append(properties, dbus.Property{Name: "WorkingDirectory", Value: godbus.MakeVariant(c.Dir)})
	}
	done := make(chan string, 1)
	// Also when ctx has ended, nothing of the unit stays in systemd's lists.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if _, err := conn.StartTransientUnitContext(ctx, unit, "replace", properties, done); err != nil {
		err = fmt.Errorf("runner: start %s: %w", unit, err)
		if ctx.Err() != nil { // systemd has been asked all the same
			err = errors.Join(err, stopUnit(bounded, conn, unit))
		}
		return Result{}, err
	}
	collected := pipes.collect(c)
	var result string
	select {
	case result = <-done:
	case <-ctx.Done():
	}
	if result == "" {
		return Result{}, errors.Join(fmt.Errorf("runner: %s: %w", unit, ctx.Err()), stopUnit(bounded, conn, unit))
	}
	out := collected()
	if result == "done" {
		return out, nil
	}
	out.Exit = -1
	if status, err := conn.GetServicePropertyContext(bounded, unit, "ExecMainStatus"); err == nil {
		if n, ok := status.Value.Value().(int32); ok && n != 0 {
			out.Exit = int(n)
		}
	}
	_ = conn.ResetFailedUnitContext(bounded, unit)
	return out, nil
}

// stopTime is how long a unit may take to stop.
const stopTime = time.Minute

// stopUnit stops a unit, if there is one, or takes its start back.
func stopUnit(ctx context.Context, c *dbus.Conn, unit string) error {
	done := make(chan string, 1)
	var refused godbus.Error
	_, err := c.StopUnitContext(ctx, unit, "replace", done)
	if errors.As(err, &refused) && refused.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-done:
		_ = c.ResetFailedUnitContext(ctx, unit) // a command that a signal has ended has failed, and would keep its name
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pipes connect a unit's standard files with us.
type pipes struct {
	ours, theirs [3]*os.File
}

func newPipes(c Command) (*pipes, error) {
	p := &pipes{}
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			p.close()
			return nil, err
		}
		p.ours[i], p.theirs[i] = r, w
		if i == 0 {
			p.ours[i], p.theirs[i] = w, r
		}
	}
	return p, nil
}

func (p *pipes) close() {
	for _, f := range append(p.ours[:], p.theirs[:]...) {
		if f != nil {
			_ = f.Close()
		}
	}
}

// properties hands the unit its ends (systemd.exec(5), StandardInput=fd).
func (p *pipes) properties() (out []dbus.Property) {
	for i, name := range []string{"StandardInputFileDescriptor", "StandardOutputFileDescriptor", "StandardErrorFileDescriptor"} {
		out = append(out, dbus.Property{Name: name, Value: godbus.MakeVariant(godbus.UnixFD(p.theirs[i].Fd()))})
	}
	return out
}

// collect begins to feed and read the unit; the func that it returns waits for the end.
func (p *pipes) collect(c Command) func() Result {
	for i := range p.theirs { // or our reading would never end
		_ = p.theirs[i].Close()
		p.theirs[i] = nil
	}
	var stdout, stderr tail
	finished := make(chan struct{}, 3)
	go func() {
		_, _ = p.ours[0].Write(c.Stdin) // who does not read its input may end without it
		_ = p.ours[0].Close()
		finished <- struct{}{}
	}()
	read := func(to io.Writer, from *os.File) {
		_, _ = io.Copy(to, from)
		finished <- struct{}{}
	}
	go read(c.stdout(&stdout), p.ours[1])
	go read(&stderr, p.ours[2])
	return func() Result {
		for range 3 {
			<-finished
		}
		return Result{Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes()}
	}
}

func (c Command) stdout(kept *tail) io.Writer {
	if c.Stdout != nil {
		return c.Stdout
	}
	return kept
}

// Run is like Systemd.Run, as a child of the caller's, which ends with it.
func (p Plain) Run(ctx context.Context, c Command) (Result, error) {
	type ended struct {
		result Result
		err    error
	}
	done := make(chan ended, 1)
	go func() {
		// The parent death signal comes when this thread ends (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err := runChild(ctx, c)
		done <- ended{r, err}
	}()
	e := <-done
	return e.result, e.err
}

func runChild(ctx context.Context, c Command) (Result, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, append(os.Environ(), c.Env...), bytes.NewReader(c.Stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr tail
	cmd.Stdout, cmd.Stderr = c.stdout(&stdout), &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("runner: %s: %w", c.Name, ctx.Err())
	case err != nil && !errors.As(err, &failed):
		return Result{}, fmt.Errorf("runner: %w", err)
	}
	return Result{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes()}, nil
}
