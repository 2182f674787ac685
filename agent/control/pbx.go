package control

import (
	"context"
	"net/http"
	"time"
)

// PBX answers about the exchange. It is part of Backend.
type PBX interface {
	Extensions(ctx context.Context) ([]Extension, error)
	PBXStatus(ctx context.Context) (PBXStatus, error)
	RestartPBX(ctx context.Context, o RestartOptions) error
	// ResyncPhones has phones fetch their files again, and waits until they have.
	ResyncPhones(ctx context.Context, o ResyncOptions) ([]Resync, error)
}

// Extension is a number of the file, as the exchange has it now.
type Extension struct {
	Number        string         `json:"number"`
	Name          string         `json:"name"`
	Phones        []string       `json:"phones"` // MACs of the desk phones that have it
	InExchange    bool           `json:"in_exchange"`
	Registrations []Registration `json:"registrations"`
	InCall        bool           `json:"in_call"`
	Trouble       string         `json:"trouble,omitempty"`
}

// Registration is one device that is registered for an extension.
type Registration struct {
	Address   string        `json:"address"`
	UserAgent string        `json:"user_agent"`
	Reach     string        `json:"reach"` // reachable, unreachable or unknown
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Expires   time.Time     `json:"expires,omitzero"`
}

// PBXStatus is how the exchange is.
type PBXStatus struct {
	Driver     string     `json:"driver"`
	State      string     `json:"state"` // see pbx.HealthState; absent: there is none; none: none is watched
	Since      time.Time  `json:"since,omitzero"`
	Why        string     `json:"why,omitempty"`
	Held       string     `json:"held,omitempty"` // why it is not started anew
	Restarts   int        `json:"restarts"`       // in the last 15 minutes
	Extensions int        `json:"extensions"`
	Registered int        `json:"registered"`
	Calls      int        `json:"calls"`
	InLine     bool       `json:"in_line"` // it has the extensions that it should have
	Error      string     `json:"error,omitempty"`
	Story      []PBXEvent `json:"story"` // what has happened to it, newest last
}

// PBXEvent is one thing that has happened to the exchange.
type PBXEvent struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// RestartOptions say how to start the exchange anew.
type RestartOptions struct {
	Force bool `json:"force,omitempty"` // even if calls go on
}

// ResyncOptions say which phones fetch their files again.
type ResyncOptions struct {
	MAC  string        `json:"mac,omitempty"` // empty: all that have an extension
	Wait time.Duration `json:"wait_ns"`       // for them to do it; at most five minutes
}

// ResyncState is how it went.
type ResyncState string

// How a resync can go.
const (
	ResyncDone          ResyncState = "done"           // the phone has fetched its file
	ResyncSilent        ResyncState = "no answer"      // it was asked, and has not
	ResyncNotRegistered ResyncState = "not registered" // it cannot be asked
	ResyncFailed        ResyncState = "failed"         // it could not be asked
)

// Resync is how it went with one phone.
type Resync struct {
	MAC       string      `json:"mac"`
	Extension string      `json:"extension"`
	State     ResyncState `json:"state"`
	Detail    string      `json:"detail,omitempty"`
}

func (s *Server) pbxRoutes(mux *http.ServeMux) {
	b := s.backend
	mux.Handle("GET /v1/extensions", ask(b.Extensions))
	mux.Handle("GET /v1/pbx", ask(b.PBXStatus))
	mux.Handle("POST /v1/pbx/restart", s.change("restart pbx", with(func(r *http.Request, o RestartOptions) (any, error) {
		return nil, b.RestartPBX(r.Context(), o)
	})))
	mux.Handle("POST /v1/phones/resync", s.change("resync phones", with(func(r *http.Request, o ResyncOptions) (any, error) {
		return b.ResyncPhones(r.Context(), o)
	})))
}

// Extensions lists the extensions of the configuration that runs.
func (c *Client) Extensions(ctx context.Context) ([]Extension, error) {
	return call[[]Extension](ctx, c, http.MethodGet, "/v1/extensions", nil)
}

// PBXStatus asks how the exchange is.
func (c *Client) PBXStatus(ctx context.Context) (PBXStatus, error) {
	return call[PBXStatus](ctx, c, http.MethodGet, "/v1/pbx", nil)
}

// RestartPBX starts the exchange anew.
func (c *Client) RestartPBX(ctx context.Context, o RestartOptions) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/pbx/restart", o)
	return err
}

// ResyncPhones has phones fetch their files again, and waits until they have.
func (c *Client) ResyncPhones(ctx context.Context, o ResyncOptions) ([]Resync, error) {
	return call[[]Resync](ctx, c, http.MethodPost, "/v1/phones/resync", o)
}
