package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long a program that was asked to stop may take before it is killed.
const stopGrace = 5 * time.Second

// Process is a program running in the background on a host.
type Process struct {
	name   string
	cmd    *exec.Cmd
	output output
	done   chan struct{}
	err    error // how it ended; valid once done is closed
}

// Start runs a program in the background, until Stop, Kill or the end of the lab.
func (h *Host) Start(name string, args ...string) (*Process, error) {
	return h.StartCommand(h.Command(h.lab.ctx, name, args...))
}

// StartCommand does the same with a command made by Command, so that its directory or environment can be set. Its
// output is captured, and copied to Stdout or Stderr where those are set.
func (h *Host) StartCommand(cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: cmd.Args[execCommand], cmd: cmd, done: make(chan struct{})}
	cmd.Stdout = tee(&p.output, cmd.Stdout)
	cmd.Stderr = tee(&p.output, cmd.Stderr)
	cmd.WaitDelay = time.Second // a child that keeps the output open must not hold us up
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: start %s on %s: %w", p.name, h.name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	h.lab.mu.Lock()
	h.lab.processes = append(h.lab.processes, p)
	h.lab.mu.Unlock()
	return p, nil
}

func tee(o *output, also io.Writer) io.Writer {
	if also == nil {
		return o
	}
	return io.MultiWriter(o, also)
}

// Pid returns the process id, as seen inside the lab.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what the program has written so far to its standard output and error.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program and returns how it ended, as exec.Cmd.Wait does.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the program to stop (SIGTERM), kills it when it does not within five seconds, and waits for its end.
// Stopping a program that has ended already only returns how it ended.
func (p *Process) Stop() error {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopGrace):
		return p.Kill()
	}
}

// Kill ends the program at once (SIGKILL) and waits for its end.
func (p *Process) Kill() error {
	_ = p.Signal(syscall.SIGKILL)
	return p.Wait()
}

// WaitOutput waits until the program has written text. It fails when ctx or the program ends before.
func (p *Process) WaitOutput(ctx context.Context, text string) error {
	for {
		written, changed := p.output.snapshot()
		if strings.Contains(written, text) {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Contains(p.Output(), text) {
				return nil
			}
			return fmt.Errorf("lab: %s ended without writing %q (%v): %s", p.name, text, p.err, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("lab: %s has not written %q: %w: %s", p.name, text, ctx.Err(), p.Output())
		}
	}
}

// output collects what a program writes and wakes those who wait for more.
type output struct {
	mu      sync.Mutex // guards the following
	buf     bytes.Buffer
	changed chan struct{} // closed at the next write; nil while nobody waits
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) snapshot() (written string, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.buf.String(), o.changed
}
