package control

import (
	"net/http"
	"time"
)

// ListLeases lists the DHCP leases, by address.
var ListLeases = Operation[None, []Lease]{
	ID: "listLeases", Method: http.MethodGet, Path: "/leases", Role: Viewer,
	Summary: "The DHCP leases, by address",
}

// SearchDHCPServers has the DHCP server search for others, and answers when the
// search is over: 4 to 16 seconds.
var SearchDHCPServers = Operation[None, DHCPStatus]{
	ID: "searchDHCPServers", Method: http.MethodPost, Path: "/dhcp/search", Role: Operator,
	Summary: "Search for other DHCP servers on the LAN now",
	Order:   "search for other DHCP servers",
}

func leaseOperations() []Declaration { return []Declaration{ListLeases, SearchDHCPServers} }

// Lease is an address and who has it.
type Lease struct {
	Address  string    `json:"address"`
	MAC      string    `json:"mac"`
	Hostname string    `json:"hostname,omitempty"`
	Class    string    `json:"class,omitempty"` // vendor class, option 60
	State    string    `json:"state"`
	Start    time.Time `json:"start,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
}
