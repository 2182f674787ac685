package runner

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// UnitState is how a unit of systemd is.
type UnitState struct {
	Active  bool // runs, or is about to
	Enabled bool // starts with the machine
	Masked  bool // cannot be started
}

// Units returns the units that are installed, of those named.
func (Systemd) Units(ctx context.Context, names []string) (map[string]UnitState, error) {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	out := make(map[string]UnitState)
	for _, name := range names {
		p, err := c.GetUnitPropertiesContext(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("runner: state of %s: %w", name, err)
		}
		if p["LoadState"] == "not-found" {
			continue
		}
		out[name] = UnitState{
			Active: p["ActiveState"] == "active" || p["ActiveState"] == "activating" || p["ActiveState"] == "reloading",
			// Units that are generated from init scripts say "generated", and start with the machine.
			Enabled: p["UnitFileState"] == "enabled" || p["UnitFileState"] == "generated",
			Masked:  p["LoadState"] == "masked",
		}
	}
	return out, nil
}

// Mask stops a unit and keeps it from being started again.
func (s Systemd) Mask(ctx context.Context, unit string) error {
	return s.manage(ctx, unit, "mask", func(c *dbus.Conn, done chan<- string) error {
		if _, err := c.MaskUnitFilesContext(ctx, []string{unit}, false, true); err != nil {
			return err
		}
		if err := c.ReloadContext(ctx); err != nil {
			return err
		}
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Unmask undoes Mask, and starts the unit if told to.
func (s Systemd) Unmask(ctx context.Context, unit string, start bool) error {
	return s.manage(ctx, unit, "unmask", func(c *dbus.Conn, done chan<- string) error {
		if _, err := c.UnmaskUnitFilesContext(ctx, []string{unit}, false); err != nil {
			return err
		}
		if err := c.ReloadContext(ctx); err != nil || !start {
			done <- "done"
			return err
		}
		_, err := c.StartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Retire stops a unit that runs, and keeps it from starting with the machine.
func (s Systemd) Retire(ctx context.Context, unit string) error {
	all, err := s.Units(ctx, []string{unit})
	if err != nil || !all[unit].Active {
		return err
	}
	return s.manage(ctx, unit, "stop", func(c *dbus.Conn, done chan<- string) error {
		if _, err := c.DisableUnitFilesContext(ctx, []string{unit}, false); err != nil {
			return err
		}
		if err := c.ReloadContext(ctx); err != nil {
			return err
		}
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Reload makes a unit read its configuration again, or restarts it.
func (s Systemd) Reload(ctx context.Context, unit string) error {
	return s.manage(ctx, unit, "reload", func(c *dbus.Conn, done chan<- string) error {
		_, err := c.ReloadOrTryRestartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// manage does something to a unit and waits for the job that it begins.
func (Systemd) manage(ctx context.Context, unit, what string, do func(*dbus.Conn, chan<- string) error) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	done := make(chan string, 1)
	if err := do(c, done); err != nil {
		return fmt.Errorf("runner: %s %s: %w", what, unit, err)
	}
	select {
	case result := <-done:
		if result != "done" && result != "skipped" {
			return fmt.Errorf("runner: %s %s: %s, see journalctl -u %s", what, unit, result, unit)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("runner: %s %s: %w", what, unit, ctx.Err())
	}
}

// Forget has systemd forget the units, by a pattern (systemctl(1)), that have failed: commands of a daemon that was
// killed, which stay in its lists otherwise.
func (Systemd) Forget(ctx context.Context, pattern string) error {
	c, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("runner: talk to systemd: %w", err)
	}
	defer c.Close()
	failed, err := c.ListUnitsByPatternsContext(ctx, []string{"failed"}, []string{pattern})
	if err != nil {
		return fmt.Errorf("runner: list %s: %w", pattern, err)
	}
	for _, unit := range failed {
		if err := c.ResetFailedUnitContext(ctx, unit.Name); err != nil {
			return fmt.Errorf("runner: forget %s: %w", unit.Name, err)
		}
	}
	return nil
}
