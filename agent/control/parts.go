package control

import "time"

// PartState says what a unit of a part is doing.
type PartState string

// States.
const (
	PartOff      PartState = "off"      // the configuration wants none
	PartStarting PartState = "starting" // for the first time, or with another configuration
	PartRunning  PartState = "running"
	PartWaiting  PartState = "waiting" // failed; starts again at PartStatus.NextTry
	PartStuck    PartState = "stuck"   // does not end although it was asked to; it is not started beside itself
	PartStopped  PartState = "stopped"
)

// PartStatus is what is known of a unit of a part.
type PartStatus struct {
	Name      string    `json:"name"`
	State     PartState `json:"state"`
	Since     time.Time `json:"since"`                // of the current state
	Retries   int       `json:"retries"`              // starts after a failure, since it was switched on
	LastError string    `json:"last_error,omitempty"` // of the last failure, also after a recovery
	NextTry   time.Time `json:"next_try,omitzero"`    // only when waiting
	// Generation is the newest configuration that is in force, see part.Input.
	Generation uint64 `json:"generation"`
	// Behind says why the newest configuration is not in force yet.
	Behind string `json:"behind,omitempty"`
}
