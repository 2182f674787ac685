// Package phones is the appliance's desk phones and softphones: which there are,
// who may have which file, and what is in it.
//
// A phone's file holds its SIP secret, so it is given only to the station with the
// phone's MAC, at the address that leases it: an address alone is anybody's to take.
// Who leases what, the package is told by a func; it knows neither DHCP nor TFTP nor
// the configuration file.
package phones

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// ErrNotMine is returned for a name that is not of a phone's form.
var ErrNotMine = errors.New("not a phone's file")

// Policy is what happens to phones that nobody has named.
type Policy string

// Policies.
const (
	Deny    Policy = "deny"    // refused
	Approve Policy = "approve" // they wait for Service.Approve
	Auto    Policy = "auto"    // each gets a free extension, or Deps.Adopt is asked to make one, until Config.AutoUntil
)

// Config is the phones as they should be.
type Config struct {
	Site       yealink.Site
	Extensions []yealink.Account
	Phones     []Phone
	// ModelExtra are raw keys by model, over those of the renderer.
	ModelExtra map[string]map[string]string
	// Once withholds the secret from a phone that has registered, until Rearm.
	Once      bool
	Unknown   Policy
	AutoUntil time.Time
	// AutoFirst and AutoLast are the extensions for Auto, numbers of the same length.
	AutoFirst, AutoLast string
	// SoftphoneURL is where Softphone's answers are found; the token is appended.
	SoftphoneURL string
	// Via are the MACs of bridges, repeaters and routers that phones are behind: a frame of
	// theirs counts as the phone's that leases the address.
	Via []net.HardwareAddr
	// NoLeases says that another server gives the addresses: a phone is known by its frames alone.
	NoLeases bool
}

// Phone is a phone that somebody has named.
type Phone struct {
	MAC       net.HardwareAddr
	Also      []net.HardwareAddr // its other MACs, such as a Wi-Fi adapter's
	Model     string
	Extension string
	Keys      []yealink.Key
	Extra     map[string]string
}

// Deps are what the service needs from others.
type Deps struct {
	// LeasedTo returns the MAC that has an address now.
	LeasedTo func(addr netip.Addr) (net.HardwareAddr, bool)
	Store    Store
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
	// OnChange is told when the approved phones have changed. It must not block.
	OnChange func()
	// Adopt is told of an unknown phone that may have an extension by itself, when no one that exists is free. It must not
	// block.
	Adopt func(mac net.HardwareAddr)
}

// Request is one request for a file.
type Request struct {
	Client netip.Addr
	// Stations are the MACs that the request came from and that its answer goes to. More
	// than one is somebody who takes part uninvited; none gets no phone's file.
	Stations  []net.HardwareAddr
	Name      string
	UserAgent string // empty over TFTP
	Transport string // tftp, http or https: for the log
}

// State is how far a phone is.
type State string

// States of phones.
const (
	StateAbsent      State = "absent"      // named, not seen since the start
	StateSeen        State = "seen"        // has an address
	StateProvisioned State = "provisioned" // has fetched its file
	StatePending     State = "pending"     // waits for approval
	StateDenied      State = "denied"      // unknown, and the policy is Deny
)

// Source is who named a phone.
type Source string

// Sources.
const (
	FromConfig   Source = "config"
	FromApproval Source = "approved"
	FromNobody   Source = "unknown"
)

// Status is all that is known of one phone.
type Status struct {
	MAC       net.HardwareAddr
	Model     string // for an unknown phone: what it seems to be
	Extension string
	Name      string
	State     State
	Source    Source
	Addr      netip.Addr
	Firmware  string
	FirstSeen time.Time
	LastSeen  time.Time
	LastFetch time.Time
	LastFile  string
	// LastRegistration is when the exchange was last heard to accept it.
	LastRegistration time.Time
	Armed            bool // its file holds its secret
	Alert            string
}

// Saved is what must survive a restart.
type Saved struct {
	Approved map[string]Approval  `json:"approved"` // by MAC, as in 001565aabbcc
	Done     map[string]time.Time `json:"done"`     // phones that have registered, by MAC
}

// Approval is an unknown phone that was given an extension.
type Approval struct {
	Extension string    `json:"extension"`
	Model     string    `json:"model"`
	At        time.Time `json:"at"`
	Auto      bool      `json:"auto,omitempty"`
}

// Store keeps Saved. Save MUST be durable when it returns nil.
type Store interface {
	Load(ctx context.Context) (Saved, error)
	Save(ctx context.Context, s Saved) error
}
