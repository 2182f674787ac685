package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SetKnown says which phones outside are registered now: they are treated like
// the allow list. It replaces what was said before. After an error the kernel does
// not have them all yet; the manager tries again by itself.
func (m *Manager) SetKnown(ctx context.Context, phones []netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phones = senders(phones)
	return m.syncKnown(ctx)
}

// setNames takes over the addresses of the allow list's names.
func (m *Manager) setNames(ctx context.Context, addrs []netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.named = senders(addrs)
	return m.syncKnown(ctx)
}

// syncKnown has the kernel's set hold who is known, and lifts bans of those who
// are now. The caller holds m.mu.
func (m *Manager) syncKnown(ctx context.Context) error {
	before, now := m.inKernel, m.known()
	if m.cfg.Disabled || slices.Equal(before, now) {
		return nil
	}
	var b strings.Builder
	var banned []netip.Addr
	for _, a := range before {
		if !slices.Contains(now, a) {
			fmt.Fprintf(&b, "add element inet %[1]s %[2]s { %[3]s }\ndelete element inet %[1]s %[2]s { %[3]s }\n", TableName, setKnown+familyOf(a).suffix, a)
		}
	}
	for _, a := range now {
		fmt.Fprintf(&b, "add element inet %s %s { %s }\n", TableName, setKnown+familyOf(a).suffix, a)
		if r, ok := m.bans[a]; ok && r.Until.After(time.Now()) {
			banned = append(banned, a)
		}
	}
	if err := load(ctx, b.String()); err != nil {
		return err
	}
	m.inKernel = now
	if len(banned) > 0 {
		return m.release(ctx, banned...)
	}
	return nil
}

// known is who is treated like the allow list besides it, sorted. The caller
// holds m.mu.
func (m *Manager) known() []netip.Addr {
	all := slices.Concat(m.phones, m.named)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func senders(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		if a.IsValid() && !a.IsUnspecified() {
			out = append(out, sender(a))
		}
	}
	return out
}

// Throttle slows a machine of the LAN down for a time (Shield.Slow): it fails to
// register again and again. It is not banned. A minute to a day.
func (m *Manager) Throttle(ctx context.Context, addr netip.Addr, d time.Duration) error {
	if !addr.IsValid() || d < time.Minute || d > 24*time.Hour {
		return fmt.Errorf("firewall: throttle %v for %v: it takes an address, and a minute to a day", addr, d)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Disabled {
		return ErrDisabled
	}
	now := time.Now()
	r := record{Addr: sender(addr), Since: now, Until: now.Add(d)}
	if err := load(ctx, banScript(setSlow, r, now)); err != nil {
		return err
	}
	if _, ok := m.slow[r.Addr]; !ok {
		m.log.Warn("slowed down: it fails to register again and again", "addr", addr, "for", d)
	}
	m.slow[r.Addr] = r.Until
	return nil
}

// resolve looks the allow list's names up, now and then, until ctx ends. A name
// that cannot be resolved keeps the addresses that it had.
func (m *Manager) resolve(ctx context.Context) {
	const often, seldom = 30 * time.Second, 5 * time.Minute
	last := make(map[string][]netip.Addr)
	for {
		m.mu.Lock()
		names := slices.Clone(m.cfg.AllowNames)
		m.mu.Unlock()
		wait := seldom
		var all []netip.Addr
		for _, name := range names {
			addrs, err := m.opts.Resolve(ctx, name)
			if err != nil {
				m.log.Debug("a name of the allow list cannot be resolved", "name", name, "err", err)
				wait = often
				addrs = last[name]
			}
			last[name] = addrs
			all = append(all, addrs...)
		}
		if err := m.setNames(ctx, all); err != nil && ctx.Err() == nil {
			m.log.Error("cannot allow the addresses of names", "err", err)
			wait = often
		}
		select {
		case <-ctx.Done():
			return
		case <-m.names.C():
		case <-time.After(wait):
		}
	}
}

// SetsOf returns the sets that a sender is a member of now, for Packet.In.
func (m *Manager) SetsOf(ctx context.Context, addr netip.Addr) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Disabled {
		return nil, nil
	}
	f, who := familyOf(addr), sender(addr)
	var out []string
	for _, name := range []string{setBan, setShield, setKnown, setSlow} {
		list, err := members(ctx, name+f.suffix)
		if err != nil && !errors.Is(err, errAbsent) {
			return nil, err
		}
		if slices.ContainsFunc(list, func(e member) bool { return e.addr == who }) {
			out = append(out, name)
		}
	}
	return out, nil
}
