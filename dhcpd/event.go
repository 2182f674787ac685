package dhcpd

import (
	"net"
	"net/netip"
	"time"
)

// EventType says what happened.
type EventType string

// Events, as an operator would tell them.
const (
	EventDiscover EventType = "discover" // a client looks for an address
	EventAck      EventType = "ack"      // a lease was given or renewed, and is on disk
	EventNak      EventType = "nak"
	EventRelease  EventType = "release"
	EventExpire   EventType = "expire"
	EventConflict EventType = "conflict" // DECLINE or ARP: somebody else uses the address
	EventInUse    EventType = "in use"   // ARP: a machine has an address that is free, and no lease of ours
	EventFull     EventType = "full"     // no address was left for a client
	EventRival    EventType = "rival"    // another DHCP server answers
)

// Event is something that happened to a client or to the LAN.
type Event struct {
	Type        EventType
	At          time.Time // wall clock
	MAC         net.HardwareAddr
	Addr        netip.Addr
	Hostname    string // what the client calls itself, control characters removed
	VendorClass string // option 60, likewise
	ParamList   []byte // option 55
	Circuit     string // where a relay (option 82) saw the client, in hexadecimal
	Detail      string
}
