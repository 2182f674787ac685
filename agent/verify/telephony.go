package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/sipcall"
)

const (
	askTime   = 20 * time.Second // for an answer, on a slow machine
	asking    = 10               // questions at the same time
	lifetime  = 5 * time.Minute  // of a test account's registration
	hearTime  = time.Minute      // for what the exchange plays; some explain the echo test first
	userAgent = "sae-agent verify"
	// The tones of the two test accounts, in Hz.
	firstTone, secondTone = 440, 1000
)

// Account is a line at the exchange.
type Account struct {
	Number string
	Secret string
}

// Phone is a phone as the configuration and the exchange see it.
type Phone struct {
	Name      string // for people, such as 00:15:65:12:34:56
	Extension string
	Contact   string // SIP address where it is registered; empty: it is not
	Transport string // udp, tcp or tls
	Reachable bool   // it answers the exchange's own questions
	Problem   string // why it is not registered, if somebody knows
}

// Exchange is what telephony is checked with.
type Exchange struct {
	Server    netip.AddrPort
	Transport string // udp, tcp or tls
	// Listen opens a UDP socket on an address that the exchange reaches.
	Listen func(port uint16) (net.PacketConn, error)
	// Dial connects to the server, for tcp and tls.
	Dial       func(ctx context.Context) (net.Conn, error)
	Extensions []Account // those of the configuration
	// Phones returns the phones of the configuration, and others that are registered.
	// Nil: nobody knows.
	Phones func(ctx context.Context) ([]Phone, error)
	// Borrow makes two accounts for the checks; giveBack removes them again, and may be
	// nil with an error. Nil: no accounts can be made.
	Borrow    func(ctx context.Context) (accounts [2]Account, giveBack func(ctx context.Context) error, err error)
	Voicemail string    // the number that plays voice mail
	Echo      string    // the number that echoes
	Meetings  *Meetings // nil: there are none behind the exchange
}

// Telephony checks an exchange.
type Telephony struct {
	x        Exchange
	patience time.Duration  // for an answer to a single question
	silent   bool           // it does not answer at all
	first    *sipcall.Phone // nil until it is registered
	second   *sipcall.Phone
	giveBack func(ctx context.Context) error
}

// NewTelephony returns the checks of an exchange.
func NewTelephony(x Exchange) *Telephony { return &Telephony{x: x, patience: askTime} }

// Checks implements Suite.
func (t *Telephony) Checks() []Check {
	return append([]Check{
		{"exchange", "the exchange answers", t.answers},
		{"secrets", "the exchange takes the secret of every extension", t.secrets},
		{"phones", "every registered phone answers", t.phones},
		{"accounts", "two test accounts are made and register", t.accounts},
		{"call", "one calls the other: both hear each other, and a busy lamp follows", t.call},
		{"voicemail", "the voice mail answers at " + t.x.Voicemail, t.voicemail},
		{"echo", "the echo test at " + t.x.Echo + " returns what it hears", t.echo},
	}, t.meetingChecks()...)
}

// Close implements Suite.
func (t *Telephony) Close(ctx context.Context) error {
	var errs []error
	for _, p := range []*sipcall.Phone{t.first, t.second} {
		if p != nil {
			bounded, cancel := context.WithTimeout(ctx, t.patience)
			errs = append(errs, p.Register(bounded, 0), p.Close())
			cancel()
		}
	}
	if t.giveBack != nil {
		errs = append(errs, t.giveBack(ctx))
	}
	return errors.Join(errs...)
}

// phone switches a telephone of ours on.
func (t *Telephony) phone(ctx context.Context, a Account, tone float64) (*sipcall.Phone, error) {
	return sipcall.New(ctx, sipcall.Config{
		Server: t.x.Server, Transport: strings.ToUpper(t.x.Transport), Number: a.Number, Secret: a.Secret, UserAgent: userAgent,
		Tone: tone, Listen: t.x.Listen, Dial: t.x.Dial,
	})
}

// ask switches a telephone on for one question.
func (t *Telephony) ask(ctx context.Context, a Account, question func(context.Context, *sipcall.Phone) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.patience, sipcall.ErrSilent)
	defer cancel()
	p, err := t.phone(ctx, a, 0)
	if err != nil {
		return err
	}
	return errors.Join(question(ctx, p), p.Close())
}

const nobody = "sae-agent" // asks what needs no account

func (t *Telephony) answers(ctx context.Context) Found {
	err := t.ask(ctx, Account{Number: nobody}, func(ctx context.Context, p *sipcall.Phone) error { return p.Options(ctx) })
	if t.silent = err != nil; t.silent {
		return wrong("sae-agent status says how the exchange is", "the exchange at %v does not answer: %v", t.x.Server, err)
	}
	return seen("%v over %s", t.x.Server, t.x.Transport)
}

// secrets asks where each extension is registered: that proves the secret, and
// changes nothing.
func (t *Telephony) secrets(ctx context.Context) Found {
	switch {
	case t.silent:
		return notTried(noExchange)
	case len(t.x.Extensions) == 0:
		return notTried("the file has no extension")
	}
	errs := make([]error, len(t.x.Extensions))
	parallel(len(errs), func(i int) {
		errs[i] = t.ask(ctx, t.x.Extensions[i], func(ctx context.Context, p *sipcall.Phone) error {
			_, err := p.Contacts(ctx)
			return err
		})
	})
	out := seen("%d extensions", len(errs))
	for i, err := range errs {
		if err != nil {
			out.Problems = append(out.Problems, refused(t.x.Extensions[i].Number, err))
		}
	}
	return out
}

// refused says what it means that an extension cannot register.
func refused(number string, err error) problem.Problem {
	if !errors.Is(err, sipcall.ErrSecret) {
		return problem.Problem{What: fmt.Sprintf("extension %s: %v", number, err), Fix: "sae-agent status says how the exchange is"}
	}
	return problem.Problem{
		What: fmt.Sprintf("extension %s: the exchange refuses the secret of the file, or does not have the extension", number),
		Fix:  "sae-agent apply makes the exchange as the file says; a secret that was changed by hand there belongs into the file",
	}
}

// phones asks the registered phones for their options.
func (t *Telephony) phones(ctx context.Context) Found {
	if t.x.Phones == nil {
		return notTried(elsewhere)
	}
	all, err := t.x.Phones(ctx)
	if err != nil {
		return wrong("sae-agent status says how the exchange is", "it cannot be told which phones are registered: %v", err)
	}
	problems := make([]*problem.Problem, len(all))
	parallel(len(all), func(i int) { problems[i] = t.askPhone(ctx, all[i]) })
	var out Found
	registered := 0
	for i, p := range all {
		if p.Contact != "" {
			registered++
		}
		if problems[i] != nil {
			out.Problems = append(out.Problems, *problems[i])
		}
	}
	out.Seen = fmt.Sprintf("%d of %d phones are registered", registered, len(all))
	out.NotTried = registered == 0
	return out
}

// askPhone is the problem of one phone; nil: it has none.
func (t *Telephony) askPhone(ctx context.Context, p Phone) *problem.Problem {
	who := fmt.Sprintf("extension %s: the phone %s", p.Extension, p.Name)
	switch {
	case p.Contact == "" && p.Problem == "": // not plugged in
		return nil
	case p.Contact == "":
		return &problem.Problem{What: who + " is not registered: " + p.Problem, Fix: "sae-agent phones resync " + p.Name + " has it fetch its file again"}
	}
	reachable := p.Reachable
	if p.Transport == "udp" { // over the others only the phone can connect
		reachable = t.ask(ctx, Account{Number: nobody}, func(ctx context.Context, own *sipcall.Phone) error { return own.Ping(ctx, p.Contact) }) == nil
	}
	if reachable {
		return nil
	}
	return &problem.Problem{What: who + " is registered at " + p.Contact + " but does not answer", Fix: "look whether it is plugged in, and at its cable; it is forgotten when its registration ends"}
}

// parallel does n things, some at a time.
func parallel(n int, do func(i int)) {
	slots := make(chan struct{}, asking)
	var running sync.WaitGroup
	defer running.Wait()
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			do(i)
			<-slots
		})
	}
}

func (t *Telephony) accounts(ctx context.Context) Found {
	if t.silent {
		return notTried(noExchange)
	}
	if t.x.Borrow == nil {
		return notTried(elsewhere)
	}
	accounts, giveBack, err := t.x.Borrow(ctx)
	t.giveBack = giveBack
	if err != nil {
		return wrong("sae-agent status says how the exchange is", "test accounts cannot be made: %v", err)
	}
	for i, phone := range []**sipcall.Phone{&t.first, &t.second} {
		p, err := t.phone(ctx, accounts[i], [2]float64{firstTone, secondTone}[i])
		if err == nil {
			if err = p.Register(ctx, lifetime); err != nil {
				_ = p.Close() // there is something worse to tell
			}
		}
		if err != nil {
			return wrong("sae-agent status says how the exchange is", "the test account %s does not register: %v", accounts[i].Number, err)
		}
		*phone = p
	}
	return seen("%s and %s", accounts[0].Number, accounts[1].Number)
}

// Why a check is not tried.
const (
	noExchange = "the exchange does not answer"
	noAccounts = "there are no test accounts"
	elsewhere  = "pbx.driver is none: the exchange is somebody else's"
)

func (t *Telephony) call(ctx context.Context) Found {
	if t.second == nil {
		return notTried(noAccounts)
	}
	p := sipcall.Prove(ctx, t.first, t.second)
	var noAddress *sipcall.AddressError
	switch {
	case errors.As(p.Call, &noAddress):
		return wrong(natFix, "calls have no audio: the exchange tells phones %s as its own address", noAddress.Address)
	case p.Audio != nil && t.outside(p.Media):
		return wrong(natFix, "a call between two extensions is silent: the exchange tells phones %s as its own address: %v", p.Media, p.Audio)
	case p.Call != nil:
		return wrong("the log of the exchange says where the call went", "no call between two extensions: %v", p.Call)
	case p.Audio != nil:
		return wrong("look at pbx.rtp_ports, and whether a firewall keeps these UDP ports closed", "a call between two extensions is silent: %v", p.Audio)
	case p.Lamp != nil:
		return wrong("the exchange must have hints for its extensions", "the busy lamp of an extension does not follow its calls: %v", p.Lamp)
	}
	return seen("%s, rang after %v", p, p.Setup.Round(time.Millisecond))
}

// natFix is for an exchange that tells phones of the LAN the address that it has outside.
const natFix = "the LAN must be a local network of the exchange, and its external address the WAN's or none: sae-agent apply adds the network " +
	"(FreePBX: Settings, Asterisk SIP Settings), then sae-agent pbx restart"

// outside reports whether the exchange wants audio elsewhere than where it was called. The phones are on its own machine,
// so that it may send them directly to each other, too.
func (t *Telephony) outside(media netip.Addr) bool {
	return media.IsValid() && media != t.x.Server.Addr()
}

func (t *Telephony) voicemail(ctx context.Context) Found {
	return t.service(ctx, t.x.Voicemail, 0, "pbx.voicemail names another number than the exchange has, or its voice prompts are missing")
}

func (t *Telephony) echo(ctx context.Context) Found {
	return t.service(ctx, t.x.Echo, firstTone, "the exchange must have an echo test at this number")
}

// service calls a number of the exchange's own, and listens.
func (t *Telephony) service(ctx context.Context, number string, hz float64, fix string) Found {
	if t.first == nil {
		return notTried(noAccounts)
	}
	if number == "" {
		return notTried("the exchange has no such number")
	}
	c, err := t.first.Call(ctx, number)
	if err != nil {
		return wrong(fix, "%s does not answer: %v", number, err)
	}
	listening, cancel := context.WithTimeoutCause(ctx, hearTime, fmt.Errorf("listened for %v", hearTime))
	defer cancel()
	heard := c.Hear(listening, hz)
	if err := cmp.Or(heard, c.HangUp(ctx)); err != nil {
		if heard != nil && t.outside(c.Media()) {
			return wrong(natFix, "%s answers, but the exchange tells phones %s as its own address: %v", number, c.Media(), heard)
		}
		return wrong(fix, "%s answers, but %v", number, err)
	}
	return seen("answered and heard")
}
