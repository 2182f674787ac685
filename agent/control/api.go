// Package control is how the operator's commands talk to the daemon: HTTP and
// JSON over a unix socket that only root and the group sae-agent may open. That
// access is as good as root, so every change is logged with the peer's uid.
//
// The package carries questions and answers; it decides nothing. Each operation is
// declared once, beside its types: Call and its kin ask for it, the parts answer it
// with a Handler, package controltest answers it in tests.
package control

import (
	"errors"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// SocketName is the socket's file name in the runtime directory.
const SocketName = "control.sock"

// GetStatus asks how the appliance is.
var GetStatus = Operation[None, Status]{
	ID: "getStatus", Method: http.MethodGet, Path: "/status", Role: Viewer,
	Summary: "How the appliance is, what is wrong first",
}

func statusOperations() []Declaration { return []Declaration{GetStatus} }

// Status is the appliance at one glance.
type Status struct {
	Version  string            `json:"version"`
	Site     string            `json:"site"`
	Started  time.Time         `json:"started"`
	Problems []problem.Problem `json:"problems"` // errors first; empty when all is well
	Config   ConfigStatus      `json:"config"`
	Parts    []PartStatus      `json:"parts"`
	Network  []NetworkLink     `json:"network"`
	DHCP     DHCPStatus        `json:"dhcp"`
	QoS      QoSStatus         `json:"qos"`
	PBX      PBXStatus         `json:"pbx"`
	Stacks   []Stack           `json:"stacks"`
	Phones   map[string]int    `json:"phones"`   // number of phones by state
	Services []Service         `json:"services"` // of others, where systemd runs
	Console  ConsoleStatus     `json:"console"`
}

// NotReady names what is starting: it is no problem yet, and does not do its work either.
func (s Status) NotReady() (out []string) {
	if s.DHCP.Starting {
		out = append(out, "dhcp: "+s.DHCP.Reason)
	}
	for _, p := range s.Parts {
		if p.State == PartStarting {
			out = append(out, p.Name+": it is starting")
		}
	}
	return out
}

// ConfigStatus compares the operator's file with what runs.
type ConfigStatus struct {
	Path       string    `json:"path"`
	Applied    string    `json:"applied"` // SHA-256 of the configuration that runs, hexadecimal
	AppliedAt  time.Time `json:"applied_at"`
	NotApplied bool      `json:"not_applied"`          // the file differs from what runs
	FileError  string    `json:"file_error,omitempty"` // why the file could not be applied
	Number     int       `json:"number"`               // of what runs, see Applied
	Until      time.Time `json:"until,omitzero"`       // what runs is undone then, unless it is confirmed
}

// NetworkLink is one of the two cards.
type NetworkLink struct {
	Role      string   `json:"role"` // wan or lan
	Name      string   `json:"name"`
	Method    string   `json:"method"`
	Up        bool     `json:"up"`
	Addresses []string `json:"addresses"`
	Gateway   string   `json:"gateway,omitempty"`
	DNS       []string `json:"dns,omitempty"`
	Repairs   uint64   `json:"repairs"` // times that something of ours was put back
	Error     string   `json:"error,omitempty"`
}

// DHCPStatus is the DHCP server's state.
type DHCPStatus struct {
	Serving  bool     `json:"serving"`
	Reason   string   `json:"reason,omitempty"`         // why not serving
	Starting bool     `json:"starting,omitempty"`       // it is not known yet whether it may serve
	Rivals   []string `json:"rivals,omitempty"`         // other DHCP servers that answer on the LAN
	Foreign  []string `json:"foreign,omitempty"`        // servers that clients chose and that do not answer us
	Relays   []string `json:"strange_relays,omitempty"` // relays that dhcp.relays does not name; they are not answered
	PoolSize int      `json:"pool_size"`
	PoolUsed int      `json:"pool_used"`
}

// Error is a failure that the operator can read. Details has one line for each
// thing that is wrong, for instance in the configuration file.
type Error struct {
	Code    int      `json:"-"` // HTTP status
	Message string   `json:"error"`
	Details []string `json:"details,omitempty"`
}

// Error returns the message alone; Details are for the command to print.
func (e *Error) Error() string { return e.Message }

// Unprocessable is an error that the caller can do something about. One that is an Error already stays as it is.
func Unprocessable(err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{Code: http.StatusUnprocessableEntity, Message: err.Error()}
}
