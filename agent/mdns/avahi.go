package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/godbus/dbus/v5"
)

// Names of avahi-daemon on the bus, and its numbers (avahi-common/defs.h).
const (
	avahiName   = "org.freedesktop.Avahi"
	serverIface = avahiName + ".Server"
	groupIface  = avahiName + ".EntryGroup"

	protocolIPv4 = int32(0)
	// noReverse leaves alone which name the address has: that is the machine's own (AVAHI_PUBLISH_NO_REVERSE).
	noReverse = uint32(16)

	groupEstablished, groupCollision, groupFailure = int32(2), int32(3), int32(4)
)

// systemAvahi is the one on the machine's bus.
type systemAvahi struct{}

// Runs implements avahi.
func (systemAvahi) Runs(ctx context.Context) bool {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return false
	}
	defer bus.Close()
	var has bool
	err = bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, avahiName).Store(&has)
	return err == nil && has
}

// Publish implements avahi.
func (systemAvahi) Publish(ctx context.Context, iface int, name string, addr netip.Addr, established func()) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return err
	}
	defer bus.Close() // what was published goes with its connection
	signals := make(chan *dbus.Signal, 64)
	bus.Signal(signals)
	if err := errors.Join(
		bus.AddMatchSignalContext(ctx, dbus.WithMatchInterface(groupIface), dbus.WithMatchMember("StateChanged")),
		bus.AddMatchSignalContext(ctx, dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, avahiName)),
	); err != nil {
		return err
	}
	var path dbus.ObjectPath
	if err := bus.Object(avahiName, "/").CallWithContext(ctx, serverIface+".EntryGroupNew", 0).Store(&path); err != nil {
		return fmt.Errorf("avahi-daemon: %w", err)
	}
	group := bus.Object(avahiName, path)
	if err := group.CallWithContext(ctx, groupIface+".AddAddress", 0, int32(iface), protocolIPv4, noReverse, name, addr.String()).Err; err != nil {
		return collision(err)
	}
	if err := group.CallWithContext(ctx, groupIface+".Commit", 0).Err; err != nil {
		return collision(err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, open := <-signals:
			switch {
			case !open:
				return errors.New("avahi-daemon: the bus has gone")
			case s.Name == "org.freedesktop.DBus.NameOwnerChanged":
				return errAnother // it has ended, or is another one: begin again
			case s.Path != path || len(s.Body) == 0:
				continue
			}
			switch s.Body[0] {
			case groupEstablished:
				established()
			case groupCollision:
				return errTaken
			case groupFailure:
				return fmt.Errorf("avahi-daemon cannot publish %s: %v", name, s.Body[1:])
			}
		}
	}
}

// collision tells avahi-daemon's refusal of a name that is its own.
func collision(err error) error {
	var e dbus.Error
	if errors.As(err, &e) && e.Name == avahiName+".CollisionError" {
		return errTaken
	}
	return fmt.Errorf("avahi-daemon: %w", err)
}
