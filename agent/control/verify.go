package control

import (
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// RunVerification tries for real what the appliance is for. It takes a minute or
// so, and is refused while another one runs.
var RunVerification = Operation[None, Verification]{
	ID: "runVerification", Method: http.MethodPost, Path: "/verify", Role: Operator, Order: "verify",
	Summary: "Try for real what the appliance is for",
}

func verifyOperations() []Declaration { return []Declaration{RunVerification} }

// Outcome is how a check ended.
type Outcome string

// Outcomes.
const (
	Passed   Outcome = "passed"
	Failed   Outcome = "failed"
	NotTried Outcome = "not tried" // the configuration has nothing to try, or what is needed failed
)

// Verification is the report of all checks.
type Verification struct {
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Passed  bool          `json:"passed"` // no check has failed
	Checks  []Checked     `json:"checks"` // in the order in which they were made
}

// Checked is how one check ended.
type Checked struct {
	Check    string            `json:"check"` // its name, lower case
	What     string            `json:"what"`  // was tried, in words
	Outcome  Outcome           `json:"outcome"`
	Seen     string            `json:"seen,omitempty"`     // what was seen, or why it was not tried
	Problems []problem.Problem `json:"problems,omitempty"` // not empty if it failed
	Took     time.Duration     `json:"took_ns"`
}
