package defence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/attacks"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/firewall"
)

// How many failed attempts are a ban. fail2ban's jails have the same limits.
var (
	// loginLimit is for wrong answers to a challenge.
	loginLimit = attacks.Limit{Attempts: 5, Within: 10 * time.Minute}
	// scanLimit is for requests that a phone with a wrong setting sends too.
	scanLimit = attacks.Limit{Attempts: 20, Within: time.Minute}
)

const (
	// forgeableBan is for senders that may be forged: a ban that grows could be had
	// for somebody else with a few packets.
	forgeableBan = 10 * time.Minute
	// slowFor is how long a machine of the LAN that fails to register is slowed down.
	slowFor = 5 * time.Minute
	// complaintTTL is how long the status tells of one that has failed.
	complaintTTL = 15 * time.Minute
	// maxComplaints bounds how many machines of the LAN the status tells of.
	maxComplaints = 100
)

// Jails of senders that we ban ourselves, see firewall.Ban.
const (
	jailLogin = "sip-login"
	jailScan  = "sip-scan"
)

// complaint is a machine of the LAN that fails to register.
type complaint struct {
	account  string
	attempts int
	last     time.Time
}

func (p *Part) defend(ctx context.Context, m Firewall, e pbx.SecurityEvent) {
	from := e.Remote.Addr().Unmap()
	if from == p.host.Running().Config.LAN.Address.Addr() {
		return // verify has tried a secret, and says itself what came of it
	}
	if m.Config().ZoneOf(from) == firewall.ZoneLAN {
		p.slowDown(ctx, m, from, e)
		return
	}
	b := firewall.Ban{Addr: from, Jail: jailLogin, Reason: "wrong SIP passwords"}
	counter := p.logins
	if e.Kind != pbx.WrongSecret {
		b.Jail, b.Reason, counter = jailScan, "looking for SIP extensions", p.scan
	}
	if e.Kind != pbx.WrongSecret || e.Transport == "udp" {
		b.Duration = forgeableBan
	}
	var tooMany bool
	if b.Attempts, tooMany = counter.Note(from, time.Now()); !tooMany {
		return
	}
	_, err := m.Ban(ctx, b)
	switch {
	case errors.Is(err, firewall.ErrExempt) || errors.Is(err, firewall.ErrDisabled):
		p.host.Logger("pbx").Debug("not banned", "address", from, "why", err)
	case err != nil:
		p.host.Logger("pbx").Error("cannot ban", "address", from, "err", err)
	}
}

// slowDown has a machine of the LAN that fails to register try less often, and
// tells of it: it is a phone with a wrong password, mostly. It is never banned.
func (p *Part) slowDown(ctx context.Context, m Firewall, from netip.Addr, e pbx.SecurityEvent) {
	attempts, first := p.count(from, e, time.Now())
	if first {
		p.host.Logger("pbx").Warn("a device on the LAN is refused by the exchange", "address", from, "extension", e.Account, "reason", string(e.Kind))
		p.host.Changed()
	}
	if attempts%loginLimit.Attempts != 0 {
		return
	}
	if err := m.Throttle(ctx, from, slowFor); err != nil && !errors.Is(err, firewall.ErrDisabled) {
		p.host.Logger("pbx").Error("cannot slow a device down", "address", from, "err", err)
	}
}

// count counts an attempt, and reports whether it is the first for a while.
func (p *Part) count(from netip.Addr, e pbx.SecurityEvent, now time.Time) (attempts int, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, known := p.complaints[from]
	if now.Sub(c.last) > complaintTTL {
		c, known = complaint{}, false
	}
	if !known && len(p.complaints) >= maxComplaints {
		p.forgetOld(now)
	}
	if !known && len(p.complaints) >= maxComplaints {
		return 0, false
	}
	c.attempts, c.last = c.attempts+1, now
	if e.Kind == pbx.WrongSecret || c.account == "" {
		c.account = e.Account
	}
	p.complaints[from] = c
	return c.attempts, !known
}

func (p *Part) forgetOld(now time.Time) {
	for addr, c := range p.complaints {
		if now.Sub(c.last) > complaintTTL {
			delete(p.complaints, addr)
		}
	}
}

// Slowed reports whether a machine of the LAN has failed so often lately that it was slowed down.
func (p *Part) Slowed(addr netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.complaints[addr]
	return ok && c.attempts >= loginLimit.Attempts && now.Sub(c.last) < slowFor
}

// refused tells of machines of the LAN that the exchange has refused lately.
func (p *Part) refused() (out []problem.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetOld(time.Now())
	for addr, c := range p.complaints {
		who := addr.String()
		if mac, ok := p.deps.LeasedTo(addr); ok {
			who = mac.String() + " (" + who + ")"
		}
		out = append(out, problem.Problem{
			ID: problem.PhoneRefused, Severity: problem.Warning, Part: "phones", Subject: addr.String(),
			What: fmt.Sprintf("%s is refused by the exchange as %q, %d times lately: wrong password, or no such extension", who, c.account, c.attempts),
			Fix:  "sae-agent phones resync has a phone fetch its file anew; look who it is when it is none of the phones. It is slowed down, not banned",
		})
	}
	slices.SortFunc(out, func(a, b problem.Problem) int { return strings.Compare(a.What, b.What) })
	return out
}
