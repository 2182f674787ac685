package runner

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Job is a long command that runs on, whoever has started it.
type Job struct {
	Running bool
	Failed  bool // its last run did
	Exit    int  // exit status of a run that failed
}

// Start has systemd run a long command and returns at once. What it writes to its
// outputs is added to the file log, which only root can read. The command runs on
// when we end. What it starts in the background lives on when it ends. A job with the
// same name that runs already is an error.
func (Systemd) Start(ctx context.Context, c Command, log string) error {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer conn.Close()
	program, err := exec.LookPath(c.Argv[0])
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	defer f.Close()
	unit := c.Name + ".service"
	_ = conn.ResetFailedUnitContext(ctx, unit) // a failed one must not keep its name
	output := godbus.MakeVariant(godbus.UnixFD(f.Fd()))
	properties := []dbus.Property{
		dbus.PropDescription("sae-agent: " + c.Name), dbus.PropType("exec"),
		dbus.PropExecStart(append([]string{program}, c.Argv[1:]...), false),
		{Name: "Environment", Value: godbus.MakeVariant(append([]string{"HOME=/root"}, c.Env...))},
		{Name: "KillMode", Value: godbus.MakeVariant("process")},
		{Name: "StandardOutputFileDescriptor", Value: output}, {Name: "StandardErrorFileDescriptor", Value: output},
	}
	done := make(chan string, 1)
	if _, err := conn.StartTransientUnitContext(ctx, unit, "fail", properties, done); err != nil {
		return fmt.Errorf("runner: start %s: %w", unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("runner: start %s: %s, see journalctl -u %s", unit, result, unit)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runner: start %s: %w", unit, ctx.Err())
	}
}

// Job tells how a command is that Start was given, by its name.
func (Systemd) Job(ctx context.Context, name string) (Job, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return Job{}, fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer conn.Close()
	unit := name + ".service"
	p, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return Job{}, fmt.Errorf("runner: state of %s: %w", unit, err)
	}
	state := p["ActiveState"]
	j := Job{Running: state == "active" || state == "activating" || state == "deactivating", Failed: state == "failed"}
	if j.Failed {
		j.Exit = -1
		status, err := conn.GetServicePropertyContext(ctx, unit, "ExecMainStatus")
		if err == nil {
			if n, ok := status.Value.Value().(int32); ok {
				j.Exit = int(n)
			}
		}
	}
	return j, nil
}

// ReloadManager has systemd read its unit files again.
func (Systemd) ReloadManager(ctx context.Context) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	if err := c.ReloadContext(ctx); err != nil {
		return fmt.Errorf("runner: have systemd read its unit files: %w", err)
	}
	return nil
}
