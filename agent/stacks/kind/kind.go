// Package kind says what a kind of stack is: which containers it has, when they are
// ready, how its data are written out, and what of its logs tells why it failed.
//
// A kind knows its application and nothing of how containers are brought up: the
// engine, package stacks, gives it an Inside to ask through. A new kind is a
// package below this one, its part of the configuration, and a line where the
// configuration is read.
package kind

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// UID is the account of Jitsi's programs and of those that are given certificates,
// and its group.
const UID = 1000

// MiB is a mebibyte.
const MiB = 1 << 20

// Kind is one kind of stack as it is configured. Its methods may be called from any
// goroutine.
type Kind interface {
	// Name is the stack's name, which is also that of its folder.
	Name() string
	// Images are those that this version was made for, by service.
	Images() map[string]Image
	// Render writes the project, ports included. It is pure.
	Render(s Site, images map[string]Image) (*Project, error)
	// Ready asks the application how it is. The containers are healthy when it is
	// called; an error says why the stack is of no use all the same. While the
	// application is Held, only that is told.
	Ready(ctx context.Context, in Inside) (Readiness, error)
	// Dump writes data out in a form that other versions can read, too. ErrNoDump:
	// the files are all there is.
	Dump(ctx context.Context, in Inside, w io.Writer) error
	// Excerpt picks what tells why something failed out of a log or of what a
	// command has said; empty: nothing does.
	Excerpt(log []byte) string
}

// ErrNoDump says that a kind has nothing to write out besides its files.
var ErrNoDump = errors.New("nothing to write out")

// Unready says in a sentence why an application is of no use.
type Unready string

func (u Unready) Error() string { return string(u) }

// Readiness is what an application says of itself.
type Readiness struct {
	Held bool // it stands still, as Hold has it
}

// Holder is a kind whose application can be told to stand still while its data are
// copied.
type Holder interface {
	Hold(ctx context.Context, in Inside, hold bool) error
}

// SetUpper is a kind whose application must be set up once it is ready. Doing it
// twice MUST change nothing.
type SetUpper interface {
	SetUp(ctx context.Context, in Inside) error
}

// Extra is something that a stack is better off with and works without. It is tried
// until it succeeds, with growing pauses, and never keeps the stack from being
// worked on.
type Extra struct {
	Name    string
	Digest  string // of what it depends on: it is added again when that changes
	Missing string // what to say while it is not there
	Add     func(ctx context.Context, in Inside) error
}

// Extender is a kind with extras.
type Extender interface{ Extras() []Extra }

// Watcher is a kind that looks after more than readiness: what it returns is shown
// to the operator and is no failure of the stack. since is when the stack came up.
type Watcher interface {
	Watch(ctx context.Context, in Inside, since time.Time) []Note
}

// Note is something that an operator should know and that is no failure.
type Note struct{ What, Fix string }

// Login is an account and its first password.
type Login struct{ Account, Password string }

// Logins is a kind with accounts that were given a first password.
type Logins interface{ Logins() []Login }

// User is an account to be made. Its password is the first one, and never set again.
type User struct{ Name, DisplayName, Password string }

// Accounts is a kind in which accounts can be made and removed.
type Accounts interface {
	AddUser(ctx context.Context, in Inside, u User) error
	RemoveUser(ctx context.Context, in Inside, name string) error
}

// Inside is the way into a stack that runs.
type Inside interface {
	// Exec runs a program in a service's container. The error of one that fails
	// has what it said.
	Exec(ctx context.Context, c Call) ([]byte, error)
	// Get asks the stack's page for a path, as a user on the LAN does, and checks
	// that it shows the certificate that it was given.
	Get(ctx context.Context, path string) (status int, body []byte, err error)
	// Image is what a service runs.
	Image(service string) Image
}

// Call is a program to be run in a container.
type Call struct {
	Service, User string // empty user: the image's
	Argv          []string
	Stdin         []byte
	Stdout        io.Writer // nil: it is returned
}

// Site is what all stacks must know of the appliance.
type Site struct {
	Addr     netip.Addr // the LAN's; ports are opened there alone
	Names    []string   // other names and addresses that the pages may be asked for by
	Timezone string     // IANA name
	// Certificate and key of the pages, in PEM.
	Certificate, Key []byte
	HealthEvery      time.Duration // how often Docker asks containers how they are; 0: defaultHealthEvery
}

// defaultHealthEvery costs a process in each container.
const defaultHealthEvery = 10 * time.Second
