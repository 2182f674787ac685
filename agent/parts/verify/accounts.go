package verify

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/verify"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// firstTestNumber is where test accounts are looked for: longer than the numbers of
// any site, so that they are in nobody's way.
const firstTestNumber = 99990000

// borrowAccounts gives the exchange two accounts for the time of the checks. They
// belong to what is desired: whatever happens to the daemon, they are removed when
// the exchange is brought in line the next time.
func (p *Part) borrowAccounts(ctx context.Context) (out [2]verify.Account, giveBack func(context.Context) error, err error) {
	st, ok := p.deps.Exchange.State()
	if !ok {
		return out, nil, errors.New("the part pbx does not run")
	}
	if p.host.Running().Pending {
		return out, nil, errors.New("a configuration waits for its confirmation, and until then nothing is removed from the exchange: sae-agent confirm, or sae-agent rollback")
	}
	taken := func(number string) bool {
		_, there := st.Lines[number]
		return there || numberTaken(p.host.Running().Config, number)
	}
	var accounts []pbx.Extension
	for i, number := range testNumbers(taken) {
		secret := rand.Text()
		accounts = append(accounts, pbx.Extension{Number: number, Name: "Test", Secret: pbx.Secret(secret), Voicemail: true})
		out[i] = verify.Account{Number: number, Secret: secret}
	}
	giveBack = func(ctx context.Context) error { return p.deps.Exchange.Lend(ctx, nil) }
	return out, giveBack, p.deps.Exchange.Lend(ctx, accounts)
}

// testNumbers returns two numbers that nobody has.
func testNumbers(taken func(string) bool) (out [2]string) {
	for n, i := firstTestNumber, 0; i < len(out); n++ {
		if number := fmt.Sprint(n); !taken(number) {
			out[i] = number
			i++
		}
	}
	return out
}

// numberTaken reports whether the configuration uses a number.
func numberTaken(c *config.Config, number string) bool {
	return number == c.Stacks.Jitsi.SIPExtension ||
		slices.ContainsFunc(c.Extensions, func(e config.Extension) bool { return e.Number == number })
}

// firstObservation is how long the first look at the exchange may take.
const firstObservation = 10 * time.Second

// phones are the devices that are registered for the extensions of the file, and
// the phones that are not. Just after a start it waits for the first look at them.
func (p *Part) phones(ctx context.Context) ([]verify.Phone, error) {
	ctx, cancel := context.WithTimeout(ctx, firstObservation)
	defer cancel()
	for {
		st, ok := p.deps.Exchange.State()
		if ok && !st.Observed.IsZero() {
			return phonesToVerify(p.host.Running().Config, p.deps.Phones(), st), nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return nil, errors.New("the exchange was not looked at yet")
		}
	}
}

func phonesToVerify(c *config.Config, known []Phone, st pbx.State) (out []verify.Phone) {
	for _, e := range c.Extensions {
		names := make(map[netip.Addr]string) // of the desk phones, by their address
		for _, p := range known {
			if p.Extension != e.Number {
				continue
			}
			names[p.Addr] = p.MAC
			if !p.Registered {
				out = append(out, verify.Phone{Name: p.MAC, Extension: e.Number, Problem: p.Trouble})
			}
		}
		for _, r := range st.Lines[e.Number].Registrations {
			addr := r.Remote.Addr()
			out = append(out, verify.Phone{
				Name: cmp.Or(names[addr], "at "+addr.String()), Extension: e.Number,
				Contact: r.URI, Transport: transportOf(r.URI), Reachable: r.Reach != pbx.Unreachable,
			})
		}
	}
	return out
}

// transportOf is how a contact is reached (RFC 3261 section 19.1.1).
func transportOf(uri string) string {
	for _, t := range []string{"tcp", "tls"} {
		if strings.Contains(strings.ToLower(uri), "transport="+t) {
			return t
		}
	}
	return "udp"
}
