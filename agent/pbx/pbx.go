// Package pbx is the telephone exchange for the rest of the product: which extensions it should have, who is
// registered, which calls there are, who attacks, and whether it lives.
//
// How an exchange is configured is a Driver's affair (packages asterisk and freepbx); what happens in it is seen
// through Asterisk's manager interface (package ami), whoever has configured it. The package knows neither phones'
// files nor the configuration file.
package pbx

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/internal/masked"
)

// Secret is a password, which shows as asterisks wherever it is printed.
type Secret = masked.String

// Extension is a number that can be called, with its account.
type Extension struct {
	Number    string // 2 to 15 digits; also the account's name
	Name      string // shown to those who are called
	Secret    Secret
	Voicemail bool // it has a voice mailbox
	Lent      bool // it is there for a test, and nobody telephones with it
}

// Gateway is the account of a SIP gateway into video meetings. Calls to AccessNumber go to Room, and calls to
// AccessNumber followed by digits to the room of these digits; the gateway is told in the header RoomHeader.
type Gateway struct {
	Extension
	AccessNumber string // empty: no number leads to a room
	Room         string
	RoomHeader   string
}

// Strategy is in which order a group's members ring.
type Strategy string

// Strategies.
const (
	RingAll Strategy = "ringall" // all at once
	Hunt    Strategy = "hunt"    // one after the other, in the order of the members
)

// Group is a number at which several extensions ring.
type Group struct {
	Number   string
	Name     string
	Members  []string // numbers of extensions
	Strategy Strategy
	Timeout  time.Duration // how long it rings, with Hunt at each member
}

// Transport is how an exchange listens for SIP.
type Transport struct {
	Protocol string // udp, tcp or tls
	Listen   netip.AddrPort
}

// Desired is the exchange as it should be.
type Desired struct {
	Extensions []Extension // in the order of the file, numbers are unique
	Gateway    *Gateway    // nil: none
	Groups     []Group
	Transports []Transport
	// Certificate and Key are in PEM, for a transport with TLS.
	Certificate       string
	Key               Secret
	Codecs            []string     // pcma, pcmu, g722, g729, opus; the preferred one first
	RTPFirst, RTPLast uint16       // UDP ports for voice
	LAN               netip.Prefix // whose devices get our address on it, whatever those outside get
	Voicemail         string       // the number that plays voicemail
	Language          string       // of the spoken prompts, BCP 47 such as fr
	ManagerUser       string       // for ourselves
	ManagerSecret     Secret
	// KeepRemoved leaves in place what is no longer wanted: a confirmation is pending, and what is deleted (voice
	// mail, a user's own settings) does not come back when the change is undone.
	KeepRemoved bool
}

// Op is what happens to something.
type Op string

// Operations.
const (
	Add    Op = "add"
	Modify Op = "change"
	Remove Op = "remove"
)

// Change is one difference between the exchange and what it should be. It never holds a secret.
type Change struct {
	Op   Op
	What string // such as "extension 100" or "RTP ports"
	How  string // such as "name Bob -> Robert" or "secret"; may be empty
	// Waits says that it is not done now: a confirmation is pending.
	Waits bool
	// Since is since when the exchange may run with it; zero: since Apply was called.
	Since time.Time
}

func (c Change) String() string {
	s := "pbx: " + string(c.Op) + " " + c.What
	if c.How != "" {
		s += ": " + c.How
	}
	if c.Waits {
		s += " (waits for the confirmation)"
	}
	return s
}

// Driver configures one kind of exchange.
//
// A driver MUST NOT touch what it has not made itself, except to say in the error what is in its way. Its errors say
// what the operator can do, and hold no secret. Methods are never called at the same time.
type Driver interface {
	// Plan says what Apply would do, and changes nothing.
	Plan(ctx context.Context, want Desired) ([]Change, error)
	// Apply makes the exchange so and returns what it has done, also when it returns an error: an extension that is
	// not named there ("extension 100") is then taken to be as it was. Applying twice MUST change nothing the second
	// time. An exchange that does not run is ErrDown (wrapped): whatever can be done
	// without it has been done then, and Apply is called again once it runs.
	Apply(ctx context.Context, want Desired) ([]Change, error)
}

// Inspector is a Driver that knows what else is to be said of the exchange.
type Inspector interface {
	// Inspect is called after each Apply, and changes nothing.
	Inspect(ctx context.Context, want Desired) Inspection
}

// Inspection is what an Inspector says.
type Inspection struct {
	// RestartDue says why the exchange must be restarted for what was changed; empty: it need not.
	RestartDue string
	Problems   []problem.Problem
}

// Errors of drivers and of the service, wrapped.
var (
	// ErrDown says that the exchange does not run.
	ErrDown = errors.New("the exchange does not run")
	// ErrAbsent says that there is no exchange on this machine.
	ErrAbsent = errors.New("there is no exchange on this machine")
	// ErrPaused says that an operator wants the exchange to be left alone.
	ErrPaused = errors.New("the exchange is left alone")
)

// Reach is whether a registered device answers.
type Reach string

// What is known of a device.
const (
	Reachable   Reach = "reachable"
	Unreachable Reach = "unreachable"
	Unknown     Reach = "unknown" // not asked yet, or never
)

// Registration is one device that is registered for an extension. An extension can have several.
type Registration struct {
	Extension string
	Remote    netip.AddrPort // where it is, as the exchange sees it
	URI       string         // its contact
	UserAgent string
	Reach     Reach
	RoundTrip time.Duration // of the last OPTIONS; 0: not known
	Expires   time.Time
}

// SecurityKind is what somebody has tried.
type SecurityKind string

// Kinds of security events.
const (
	WrongSecret      SecurityKind = "wrong_secret"
	UnknownExtension SecurityKind = "unknown_extension"
	Forbidden        SecurityKind = "forbidden" // an access list, a limit or a transport says no
	Malformed        SecurityKind = "malformed" // nothing that a phone would send
)

// SecurityKinds are all of them.
var SecurityKinds = []SecurityKind{WrongSecret, UnknownExtension, Forbidden, Malformed}

// SecurityEvent is an attempt that the exchange has refused. Account is what the sender says. Remote is where the packet
// came from, as far as it says so itself: only that of a TCP or TLS connection is certain to be real. Over UDP it may be
// forged for each kind, WrongSecret too: Asterisk also refuses an answer to a challenge that it never sent.
type SecurityEvent struct {
	Kind      SecurityKind
	Event     string // Asterisk's own name, such as ChallengeResponseFailed
	Service   string // PJSIP for SIP, AMI for the manager interface
	Account   string
	Remote    netip.AddrPort // invalid when the event does not say it beyond doubt
	Transport string         // udp, tcp, tls, ws or wss
	Time      time.Time
}
