package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MaxBan is the longest ban.
const MaxBan = 365 * 24 * time.Hour

// escalation are the times of bans whose asker names none: the first, second,
// third and every further one within a week.
var escalation = []time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}

// shieldJail is the jail of senders that the kernel has banned.
const shieldJail = "sip-shield"

// Errors of Ban.
var (
	// ErrExempt says that a sender is never banned: it is on the LAN, on the allow
	// list, a registered phone, a container, or where the operator is.
	ErrExempt = errors.New("firewall: this sender is never banned")
	// ErrDisabled says that no rules are in force.
	ErrDisabled = errors.New("firewall: it is off")
)

// Ban keeps a sender out: all of its packets are dropped but answers to what was
// begun from here. A sender with IPv6 is a /64.
type Ban struct {
	Addr netip.Addr `json:"addr"`
	// Jail says who noticed it, such as sshd; lower case, digits and dashes.
	Jail string `json:"jail"`
	// Reason says what it did, for people.
	Reason string `json:"reason,omitempty"`
	// Duration is how long the ban lasts from now; 0 lets it grow with each ban of
	// this sender within a week: 10 minutes, 1 hour, 1 day, 7 days.
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Attempts is how often it tried.
	Attempts int `json:"attempts,omitempty"`

	// Set by the Manager: since when and until when, and how often this sender was
	// banned within a week.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	Times int       `json:"times"`
}

// Ban bans a sender, from now on and over restarts. One that is banned already
// stays so for the longer of the two times. What was done is returned. The error
// is or wraps ErrExempt or ErrDisabled when nothing was done for that reason.
func (m *Manager) Ban(ctx context.Context, b Ban) (Ban, error) {
	if err := b.check(); err != nil {
		return Ban{}, err
	}
	// The exempt are asked for without the lock: that takes a look at the machine.
	extra := m.opts.Exempt()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.Disabled {
		return Ban{}, ErrDisabled
	}
	if why := m.exempt(b.Addr, extra); why != "" {
		return Ban{}, fmt.Errorf("%w: %v %s", ErrExempt, b.Addr, why)
	}
	r := m.sentence(b, time.Now())
	if err := load(ctx, banScript(setBan, r, time.Now())); err != nil {
		return Ban{}, err
	}
	m.remember(r)
	if time.Since(m.saved) > saveEvery {
		m.save()
	}
	m.log.Warn("banned", "addr", r.Addr, "jail", r.Jail, "reason", r.Reason, "attempts", r.Attempts, "until", r.Until)
	return r.ban(), nil
}

func (b Ban) check() error {
	switch {
	case !b.Addr.IsValid() || b.Addr.IsUnspecified():
		return errors.New("firewall: ban: there is no address")
	case !jailShape(b.Jail):
		return fmt.Errorf("firewall: ban %v: %q is not the name of a jail: use up to 32 lower-case letters, digits and dashes", b.Addr, b.Jail)
	case b.Duration < 0 || b.Duration > MaxBan:
		return fmt.Errorf("firewall: ban %v: a ban lasts at most %v", b.Addr, MaxBan)
	}
	return nil
}

func jailShape(s string) bool {
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return s != "" && len(s) <= 32 && strings.Trim(s, plain) == ""
}

// sentence decides how long a ban is. The caller holds m.mu.
func (m *Manager) sentence(b Ban, now time.Time) record {
	addr := sender(b.Addr)
	old, known := m.bans[addr]
	r := record{Addr: addr, Jail: b.Jail, Reason: b.Reason, Since: now, Attempts: b.Attempts, Times: old.Times + 1}
	inForce := known && old.Until.After(now)
	if inForce { // the same offence, seen twice
		r.Since, r.Times, r.Attempts = old.Since, max(old.Times, 1), old.Attempts+b.Attempts
	}
	d := b.Duration
	if d == 0 {
		d = escalation[min(r.Times, len(escalation))-1]
	}
	r.Until = now.Add(d)
	if inForce && old.Until.After(r.Until) {
		r.Until = old.Until
	}
	if most := r.Since.Add(MaxBan); r.Until.After(most) {
		r.Until = most
	}
	return r
}

// banScript replaces a ban: an element's time cannot be changed, only the element.
func banScript(set string, r record, now time.Time) string {
	name := set + familyOf(r.Addr).suffix
	m := r.member(set, now)
	return fmt.Sprintf("add element inet %[1]s %[2]s { %[3]s }\ndelete element inet %[1]s %[2]s { %[3]s }\nadd element inet %[1]s %[2]s { %[4]s }\n",
		TableName, name, r.Addr, m)
}

func (r record) member(set string, now time.Time) member {
	return member{set: set + familyOf(r.Addr).suffix, addr: r.Addr, timeout: r.Until.Sub(r.Since), expires: r.Until.Sub(now)}
}

func (r record) ban() Ban {
	return Ban{Addr: r.Addr, Jail: r.Jail, Reason: r.Reason, Duration: r.Until.Sub(r.Since), Attempts: r.Attempts, Since: r.Since, Until: r.Until, Times: r.Times}
}

// exempt says why a sender is never banned, or nothing. The caller holds m.mu.
func (m *Manager) exempt(a netip.Addr, extra []netip.Prefix) string {
	a = a.Unmap()
	in := func(nets []netip.Prefix) bool {
		return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(a) || a.Is6() && n.Contains(sender(a)) })
	}
	switch {
	case a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
		return "is nobody outside"
	case m.cfg.inLAN(a):
		return "is on the LAN"
	case in(m.cfg.Allow):
		return "is on the allow list"
	case slices.Contains(m.known(), sender(a)):
		return "is a registered phone, or on the allow list by name"
	case in(extra):
		return "belongs to this machine, its containers or its operator"
	}
	return ""
}

// remember keeps a ban, and has it written soon. The caller holds m.mu.
func (m *Manager) remember(r record) {
	if old, ok := m.bans[r.Addr]; !ok || !old.Until.After(time.Now()) {
		m.metrics.bans.WithLabelValues(r.Jail).Inc()
	}
	m.bans[r.Addr] = r
	m.dirty = true
}

// Unban lets a sender in again, and forgets what it did. It reports whether it
// was banned, by anybody.
func (m *Manager) Unban(ctx context.Context, addr netip.Addr) (bool, error) {
	if !addr.IsValid() {
		return false, errors.New("firewall: unban: there is no address")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.inForce(ctx)
	if err != nil {
		return false, err
	}
	addr = sender(addr)
	banned := slices.ContainsFunc(all, func(r record) bool { return r.Addr == addr })
	return banned, m.release(ctx, addr)
}

// UnbanAll lets everybody in again and returns who was banned.
func (m *Manager) UnbanAll(ctx context.Context) ([]Ban, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.inForce(ctx)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if !m.cfg.Disabled {
		for _, set := range []string{setBan, setShield, setOnce, setTwice} {
			for _, f := range families {
				fmt.Fprintf(&b, "flush set inet %s %s%s\n", TableName, set, f.suffix)
			}
		}
		if err := load(ctx, b.String()); err != nil {
			return nil, err
		}
	}
	clear(m.bans)
	m.dirty = true
	m.save()
	m.log.Info("all bans were lifted", "bans", len(all))
	return bansOf(all), nil
}

// release takes senders out of every set. The caller holds m.mu.
func (m *Manager) release(ctx context.Context, addrs ...netip.Addr) error {
	var b strings.Builder
	for _, a := range addrs {
		for _, set := range []string{setBan, setShield, setOnce, setTwice} {
			name := set + familyOf(a).suffix
			fmt.Fprintf(&b, "add element inet %[1]s %[2]s { %[3]s timeout 1s }\ndelete element inet %[1]s %[2]s { %[3]s }\n", TableName, name, a)
		}
	}
	if !m.cfg.Disabled && b.Len() > 0 {
		if err := load(ctx, b.String()); err != nil {
			return err
		}
	}
	for _, a := range addrs {
		delete(m.bans, a)
		m.log.Info("ban lifted", "addr", a)
	}
	m.dirty = true
	m.save()
	return nil
}

// Bans lists who is banned now, those that the kernel has banned included, the
// newest first.
func (m *Manager) Bans(ctx context.Context) ([]Ban, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, err := m.inForce(ctx)
	return bansOf(all), err
}

func bansOf(all []record) []Ban {
	out := make([]Ban, 0, len(all))
	for _, r := range all {
		out = append(out, r.ban())
	}
	slices.SortStableFunc(out, func(a, b Ban) int { return b.Since.Compare(a.Since) })
	return out
}

// inForce reads from the kernel who is banned, and notes what it did not know.
// Without rules nobody is. The caller holds m.mu.
func (m *Manager) inForce(ctx context.Context) ([]record, error) {
	if m.cfg.Disabled {
		return nil, nil
	}
	now := time.Now()
	list, err := members(ctx, setBan+"4", setBan+"6", setShield+"4", setShield+"6")
	if errors.Is(err, errAbsent) {
		return nil, nil // the next look puts the table back
	}
	if err != nil {
		return nil, err
	}
	byAddr := make(map[netip.Addr]record)
	for _, e := range list {
		r := m.recordOf(e, now)
		if old, ok := byAddr[e.addr]; !ok || old.Until.Before(r.Until) {
			byAddr[e.addr] = r
		}
	}
	out := make([]record, 0, len(byAddr))
	for _, r := range byAddr {
		out = append(out, r)
	}
	sortRecords(out)
	return out, nil
}

// recordOf finds what is known of an element, and remembers it if that is nothing.
// The caller holds m.mu.
func (m *Manager) recordOf(e member, now time.Time) record {
	kernel := strings.HasPrefix(e.set, setShield)
	r, ok := m.bans[e.addr]
	if ok && r.Until.After(now) && r.Kernel == kernel {
		return r
	}
	expires := e.expires
	if e.timeout == 0 {
		expires = MaxBan // somebody's element, without an end
	}
	made := record{Addr: e.addr, Jail: "other", Reason: "not banned by the agent", Times: r.Times + 1, Until: now.Add(expires), Since: now.Add(expires - e.timeout), Kernel: kernel}
	if kernel {
		made.Jail, made.Reason = shieldJail, "too many SIP requests"
	}
	if !made.Until.After(made.Since) {
		made.Since = made.Until.Add(-time.Second)
	}
	if kernel && ok && r.Until.After(made.Until) {
		return made // the longer ban is ours, and is what is kept
	}
	m.remember(made)
	return made
}

// restore are the members that the table gets when it is recreated. The caller
// holds m.mu.
func (m *Manager) restore(now time.Time) []member {
	var out []member
	for _, r := range m.bans {
		if r.Until.After(now) {
			set := setBan
			if r.Kernel {
				set = setShield
			}
			out = append(out, r.member(set, now))
		}
	}
	for _, a := range m.known() {
		out = append(out, member{set: setKnown + familyOf(a).suffix, addr: a})
	}
	for a, until := range m.slow {
		if until.After(now) {
			out = append(out, member{set: setSlow + familyOf(a).suffix, addr: a, timeout: until.Sub(now), expires: until.Sub(now)})
		}
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Or(cmp.Compare(a.set, b.set), a.addr.Compare(b.addr)) })
	return out
}

func sortRecords(list []record) {
	slices.SortFunc(list, func(a, b record) int { return a.Addr.Compare(b.Addr) })
}
