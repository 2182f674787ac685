package services

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/sae-agent/sae-agent/internal/signal"
)

// Systemd follows units through D-Bus. It talks to systemd directly, so that a
// machine without a message bus will do; only root may.
type Systemd struct {
	Names []string // of the units whose changes are told, without .service
}

// backlog is how many changes of units may wait; each is only a reason to look.
const backlog = 256

// Open implements Source.
func (s Systemd) Open(ctx context.Context) (Session, error) {
	// The connection lives until Close, not until ctx ends: a look may be under way then.
	c, err := dbus.NewSystemdConnectionContext(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("talk to systemd: %w", err)
	}
	b := &bus{conn: c, changed: signal.New(), done: make(chan struct{})}
	updates, overflow := make(chan *dbus.PropertiesUpdate, backlog), make(chan error, 1)
	c.SetPropertiesSubscriber(updates, overflow)
	if err := c.Subscribe(); err != nil {
		c.Close()
		return nil, fmt.Errorf("follow systemd's units: %w", err)
	}
	b.following.Go(func() { b.follow(s.Names, updates, overflow) })
	return b, nil
}

// bus is a connection with systemd.
type bus struct {
	conn      *dbus.Conn
	changed   signal.Signal
	done      chan struct{}
	following sync.WaitGroup
}

// follow makes tokens of signals.
func (b *bus) follow(names []string, updates <-chan *dbus.PropertiesUpdate, overflow <-chan error) {
	for {
		select {
		case <-b.done:
			return
		case u := <-updates:
			if name, ok := strings.CutSuffix(u.UnitName, ".service"); !ok || !slices.Contains(names, name) {
				continue
			}
		case <-overflow: // some were lost
		}
		b.changed.Notify()
	}
}

// Changed implements Session.
func (b *bus) Changed() <-chan struct{} { return b.changed.C() }

// Connected implements Session.
func (b *bus) Connected() bool { return b.conn.Connected() }

// Close implements Session.
func (b *bus) Close() {
	b.conn.Close()
	close(b.done)
	b.following.Wait()
}

// Units implements Session.
func (b *bus) Units(ctx context.Context, names []string) (out []Unit, err error) {
	for _, name := range names {
		p, err := b.conn.GetUnitPropertiesContext(ctx, name+".service")
		if err != nil {
			return nil, fmt.Errorf("state of %s: %w", name, err)
		}
		if p["LoadState"] != "loaded" {
			continue // not installed, or masked
		}
		u := Unit{Name: name}
		u.State, _ = p["ActiveState"].(string)
		u.Sub, _ = p["SubState"].(string)
		// Units that are generated from init scripts say "generated", and start with the machine.
		u.Enabled = p["UnitFileState"] == "enabled" || p["UnitFileState"] == "generated"
		if usec, _ := p["StateChangeTimestamp"].(uint64); usec > 0 {
			u.Since = time.UnixMicro(int64(usec))
		}
		out = append(out, u)
	}
	return out, nil
}
