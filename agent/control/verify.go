package control

import (
	"context"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// Verifier tries for real what the appliance is for.
type Verifier interface {
	// Verify takes a minute or so. It is refused while another one runs.
	Verify(ctx context.Context) (Verification, error)
}

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

func (s *Server) verifyRoutes(mux *http.ServeMux) {
	mux.Handle("POST /v1/verify", s.change("verify", func(r *http.Request) (any, error) {
		return s.backend.Verify(r.Context())
	}))
}

// Verify makes the daemon try for real what the appliance is for.
func (c *Client) Verify(ctx context.Context) (Verification, error) {
	return call[Verification](ctx, c, http.MethodPost, "/v1/verify", nil)
}
