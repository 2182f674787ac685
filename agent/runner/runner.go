// Package runner runs commands that need more rights than the daemon has, or that
// must go on when the daemon has died: as transient units where systemd runs, as
// processes of their own elsewhere.
//
// It knows nothing of what the commands do.
package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
	godbus "github.com/godbus/dbus/v5"
)

// Systemd runs commands as transient units. It talks to the manager directly, so
// that a machine without a message bus will do; only root may.
type Systemd struct{}

// Here reports whether systemd manages this machine (sd_booted(3)).
func Here() bool { return util.IsRunningSystemd() }

// After has systemd run a command once d has passed. A reboot before that ends
// the matter. A command with the same name that waits already is an error.
func (Systemd) After(ctx context.Context, name string, d time.Duration, argv []string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	// What failed long ago must not keep its name.
	_ = c.ResetFailedUnitContext(ctx, name+".service")
	type monotonic struct {
		Base string
		USec uint64
	}
	timer := []dbus.Property{
		dbus.PropDescription("Run " + name + " in a while"),
		{Name: "TimersMonotonic", Value: godbus.MakeVariant([]monotonic{{"OnActiveSec", uint64(d.Microseconds())}})},
		{Name: "AccuracyUSec", Value: godbus.MakeVariant(uint64(time.Millisecond.Microseconds()))},
		{Name: "RemainAfterElapse", Value: godbus.MakeVariant(false)},
	}
	service := dbus.PropertyCollection{Name: name + ".service", Properties: []dbus.Property{
		dbus.PropDescription(name), dbus.PropType("oneshot"), dbus.PropExecStart(argv, false),
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")}, // nobody asks how it ended
	}}
	done := make(chan string, 1)
	if _, err := c.StartTransientUnitAux(ctx, name+".timer", "fail", timer, []dbus.PropertyCollection{service}, done); err != nil {
		return fmt.Errorf("runner: start %s.timer: %w", name, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("runner: start %s.timer: %s, see journalctl -u %s.timer", name, result, name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runner: start %s.timer: %w", name, ctx.Err())
	}
}

// Cancel takes a command back that waits. Nothing happens when none does.
func (Systemd) Cancel(ctx context.Context, name string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	unit := name + ".timer"
	state, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
	if err != nil || state.Value.Value() != "active" {
		return err
	}
	if _, err := c.StopUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("runner: stop %s: %w", unit, err)
	}
	return nil
}
