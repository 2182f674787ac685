package dhcpd

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Store is where leases live.
//
// Commit MUST be durable when it returns nil: an ACK leaves after it. After an
// error none of the changes may have been made. Commit is called by one
// goroutine at a time; Load once, before the first Commit.
type Store interface {
	// Load returns every lease in the store, in any order.
	Load(ctx context.Context) ([]Lease, error)
	// Commit writes the leases, keyed by address; StateFree deletes.
	Commit(ctx context.Context, changes []Lease) error
}

// State is where an address is in its life.
type State uint8

// States of an address. The numbers are stored: never change one.
const (
	StateFree     State = 0 // nobody has it
	StateOffered  State = 1 // offered, not yet requested; never stored
	StateBound    State = 2 // leased until Expires
	StateReleased State = 3 // given back by its client, who gets it again if it can be
	StateExpired  State = 4 // as released, but run out
	StateDeclined State = 5 // somebody else uses it (DECLINE or ARP); not given out until Expires
	StateInUse    State = 6 // the machine MAC answers there without a lease of ours; until Expires only it can get it
)

const stateCount = StateInUse + 1

// outOfUse reports whether nobody leases the address, and nobody else may.
func (s State) outOfUse() bool { return s == StateDeclined || s == StateInUse }

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case StateFree:
		return "free"
	case StateOffered:
		return "offered"
	case StateBound:
		return "bound"
	case StateReleased:
		return "released"
	case StateExpired:
		return "expired"
	case StateDeclined:
		return "declined"
	case StateInUse:
		return "in use"
	}
	return "unknown"
}

// Lease is an address and who has it. Times are wall-clock times.
type Lease struct {
	Addr        netip.Addr
	MAC         net.HardwareAddr
	ClientID    []byte // option 61, nil when the client sent none
	Hostname    string // option 12
	VendorClass string // option 60
	State       State
	Start       time.Time // when it was last acknowledged
	Expires     time.Time
}
