// Package control is how the operator's commands talk to the daemon: HTTP and
// JSON over a unix socket that only root and the group sae-agent may open. That
// access is as good as root, so every change is logged with the peer's uid.
//
// The package carries questions and answers; it decides nothing. The agent
// answers through Backend.
package control

import (
	"context"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// SocketName is the socket's file name in the runtime directory.
const SocketName = "control.sock"

// Backend answers the operator. The agent implements it.
//
// An error that is the caller's to mend MUST be or wrap an *Error with a 4xx
// Code; every other error is answered as 500.
type Backend interface {
	PBX
	Status(ctx context.Context) (Status, error)
	Plan(ctx context.Context) (Plan, error)
	Apply(ctx context.Context, o ApplyOptions) (Plan, error)
	Confirm(ctx context.Context) error
	Rollback(ctx context.Context, o RollbackOptions) (Plan, error)
	History(ctx context.Context) ([]Applied, error)
	Leases(ctx context.Context) ([]Lease, error)
	Phones(ctx context.Context) ([]Phone, error)
	Phone(ctx context.Context, mac string) (Phone, error)
	ApprovePhone(ctx context.Context, mac string, a Approval) error
	ForgetPhone(ctx context.Context, mac string) error
	RearmPhone(ctx context.Context, mac string) error
	SoftphoneLink(ctx context.Context, extension string) (Link, error)
	Logs
	Verifier
	Backups
	FirewallBackend
	Stacks
}

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

// ApplyOptions say how to apply.
type ApplyOptions struct {
	// Confirm undoes the change after this time unless it is confirmed; 0 does not.
	Confirm time.Duration `json:"confirm_ns,omitempty"`
}

// RollbackOptions say where to go back to.
type RollbackOptions struct {
	// Number is the configuration to go back to; 0: the one before what runs, or
	// before what waits for its confirmation.
	Number int `json:"number,omitempty"`
	// Pending goes back only if the configuration with this number still waits for
	// its confirmation; otherwise nothing is done. The timer asks so.
	Pending int `json:"pending,omitempty"`
}

// Applied is a configuration that ran once.
type Applied struct {
	Number    int       `json:"number"`
	AppliedAt time.Time `json:"applied_at"`
	Hash      string    `json:"hash"` // SHA-256, hexadecimal
	Runs      bool      `json:"runs"`
	Pending   bool      `json:"pending,omitempty"` // waits for its confirmation
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
	Reason   string   `json:"reason,omitempty"` // why not serving
	Rivals   []string `json:"rivals,omitempty"` // other DHCP servers heard on the LAN
	PoolSize int      `json:"pool_size"`
	PoolUsed int      `json:"pool_used"`
}

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

// Phone is one phone, configured, approved or waiting for approval.
type Phone struct {
	MAC       string    `json:"mac"`
	Model     string    `json:"model,omitempty"`
	Extension string    `json:"extension,omitempty"`
	Name      string    `json:"name,omitempty"`
	State     string    `json:"state"`
	Source    string    `json:"source"` // config, approved or unknown
	Address   string    `json:"address,omitempty"`
	Firmware  string    `json:"firmware,omitempty"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	LastFetch time.Time `json:"last_fetch,omitzero"`
	LastFile  string    `json:"last_file,omitempty"`
	Armed     bool      `json:"armed"`             // its file carries its secret
	Alert     string    `json:"alert,omitempty"`   // something that a person should look at
	Trouble   string    `json:"trouble,omitempty"` // why it has its file and is not registered
}

// Approval is what an unknown phone becomes.
type Approval struct {
	Extension string `json:"extension"`
	Model     string `json:"model,omitempty"` // default: what the phone seems to be
}

// Link is a softphone's single-use provisioning address.
type Link struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// Plan says what an apply would change, or did change.
type Plan struct {
	Config  []Change `json:"config"`  // the file against the configuration that runs
	Machine []string `json:"machine"` // links, addresses and routes, in order
	// Firewall are the rules that come (+) and go (-).
	Firewall []string `json:"firewall,omitempty"`
	// Until is when the change is undone unless it is confirmed.
	Until time.Time `json:"until,omitzero"`
	// Warnings say what an apply could not do.
	Warnings []string `json:"warnings,omitempty"`
}

// Change is one configuration value that differs. Secrets are masked.
type Change struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
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
