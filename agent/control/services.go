package control

import "time"

// Service is a service of somebody else that the appliance needs.
type Service struct {
	Name    string    `json:"name"`    // of its unit, without .service
	State   string    `json:"state"`   // active, activating, inactive, failed …
	Detail  string    `json:"detail"`  // running, exited, dead …
	Enabled bool      `json:"enabled"` // starts with the machine
	Since   time.Time `json:"since,omitzero"`
}
