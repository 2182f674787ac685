package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
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
	// complainFor is how long the status tells of one that has failed.
	complainFor = 15 * time.Minute
	// maxComplaints bounds how many machines of the LAN the status tells of.
	maxComplaints = 100
)

// Jails of senders that we ban ourselves, see firewall.Ban.
const (
	jailLogin = "sip-login"
	jailScan  = "sip-scan"
)

// defence decides what becomes of those that the exchange refuses.
type defence struct {
	events       chan pbx.SecurityEvent // from the exchange, which must not wait
	logins, scan *attacks.Counter

	mu         sync.Mutex // guards the following
	complaints map[netip.Addr]complaint
}

// complaint is a machine of the LAN that fails to register.
type complaint struct {
	account  string
	attempts int
	last     time.Time
}

func newDefence() *defence {
	return &defence{
		events: make(chan pbx.SecurityEvent, 1024), logins: attacks.NewCounter(loginLimit), scan: attacks.NewCounter(scanLimit),
		complaints: make(map[netip.Addr]complaint),
	}
}

// noteAttack takes an attempt that the exchange has refused. In a flood some are
// lost: there are more of them.
func (a *Agent) noteAttack(e pbx.SecurityEvent) {
	select {
	case a.defence.events <- e:
	default:
	}
}

// followAttacks bans who attacks, as soon as the exchange has said so.
func (a *Agent) followAttacks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-a.defence.events:
			if m := a.firewall.Load(); m != nil && e.Remote.IsValid() {
				a.defend(ctx, m, e)
			}
		}
	}
}

func (a *Agent) defend(ctx context.Context, m *firewall.Manager, e pbx.SecurityEvent) {
	from := e.Remote.Addr().Unmap()
	if from == a.running.Load().LAN.Address.Addr() {
		return // verify has tried a secret, and says itself what came of it
	}
	if m.Config().ZoneOf(from) == firewall.ZoneLAN {
		a.slowDown(ctx, m, from, e)
		return
	}
	b := firewall.Ban{Addr: from, Jail: jailLogin, Reason: "wrong SIP passwords"}
	counter := a.defence.logins
	if e.Kind != pbx.WrongSecret {
		b.Jail, b.Reason, counter = jailScan, "looking for SIP extensions", a.defence.scan
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
		a.log.Debug("not banned", "part", "firewall", "address", from, "why", err)
	case err != nil:
		a.log.Error("cannot ban", "part", "firewall", "address", from, "err", err)
	}
}

// slowDown has a machine of the LAN that fails to register try less often, and
// tells of it: it is a phone with a wrong password, mostly. It is never banned.
func (a *Agent) slowDown(ctx context.Context, m *firewall.Manager, from netip.Addr, e pbx.SecurityEvent) {
	attempts, first := a.defence.complain(from, e, time.Now())
	if first {
		a.log.Warn("a device on the LAN is refused by the exchange", "part", "pbx", "address", from, "extension", e.Account, "reason", string(e.Kind))
		a.wake()
	}
	if attempts%loginLimit.Attempts != 0 {
		return
	}
	if err := m.Throttle(ctx, from, slowFor); err != nil && !errors.Is(err, firewall.ErrDisabled) {
		a.log.Error("cannot slow a device down", "part", "firewall", "address", from, "err", err)
	}
}

// complain counts an attempt, and reports whether it is the first for a while.
func (d *defence) complain(from netip.Addr, e pbx.SecurityEvent, now time.Time) (attempts int, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, known := d.complaints[from]
	if now.Sub(c.last) > complainFor {
		c, known = complaint{}, false
	}
	if !known && len(d.complaints) >= maxComplaints {
		d.forgetOld(now)
	}
	if !known && len(d.complaints) >= maxComplaints {
		return 0, false
	}
	c.attempts, c.last = c.attempts+1, now
	if e.Kind == pbx.WrongSecret || c.account == "" {
		c.account = e.Account
	}
	d.complaints[from] = c
	return c.attempts, !known
}

func (d *defence) forgetOld(now time.Time) {
	for addr, c := range d.complaints {
		if now.Sub(c.last) > complainFor {
			delete(d.complaints, addr)
		}
	}
}

// slowed reports whether a machine of the LAN has failed so often lately that it was slowed down.
func (d *defence) slowed(addr netip.Addr, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.complaints[addr]
	return ok && c.attempts >= loginLimit.Attempts && now.Sub(c.last) < slowFor
}

// refusedPhones tells of machines of the LAN that the exchange has refused lately.
func (a *Agent) refusedPhones() (out []problem.Problem) {
	d := a.defence
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetOld(time.Now())
	for addr, c := range d.complaints {
		who := addr.String()
		if mac, ok := a.leasedTo(addr); ok {
			who = mac.String() + " (" + who + ")"
		}
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "phones",
			What: fmt.Sprintf("%s is refused by the exchange as %q, %d times lately: wrong password, or no such extension", who, c.account, c.attempts),
			Fix:  "sae-agent phones resync has a phone fetch its file anew; look who it is when it is none of the phones. It is slowed down, not banned",
		})
	}
	slices.SortFunc(out, func(a, b problem.Problem) int {
		if a.What < b.What {
			return -1
		}
		return 1
	})
	return out
}
