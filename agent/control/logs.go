package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sae-agent/sae-agent/agent/events"
)

// Logs tells what has happened.
type Logs interface {
	// LogSource says where it is written, and whose story a phone's is; phone may be
	// empty.
	LogSource(ctx context.Context, phone string) (LogSource, error)
	// Logs tells emit what the daemon remembers, oldest first; with follow also what
	// comes, until ctx ends.
	Logs(ctx context.Context, f events.Filter, follow bool, emit func(events.Event) error) error
}

// LogSource is where events are to be read.
type LogSource struct {
	// Journal is true when the daemon writes to the journal all that it remembers.
	Journal   bool   `json:"journal"`
	MAC       string `json:"mac,omitempty"`       // of the phone that was asked for
	Extension string `json:"extension,omitempty"` // its number, when it has one
}

// LogSource asks where events are to be read.
func (c *Client) LogSource(ctx context.Context, phone string) (LogSource, error) {
	return call[LogSource](ctx, c, http.MethodGet, "/v1/logs/source?phone="+url.QueryEscape(phone), nil)
}

// Logs tells emit what the daemon remembers, oldest first; with follow also what
// comes, until ctx ends or the daemon does.
func (c *Client) Logs(ctx context.Context, f events.Filter, follow bool, emit func(events.Event) error) error {
	q := url.Values{
		"part": {f.Part}, "mac": {f.MAC}, "extension": {f.Extension}, "follow": {strconv.FormatBool(follow)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sae-agent/v1/logs?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readError(resp)
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var e events.Event
		err := dec.Decode(&e)
		switch {
		case errors.Is(err, io.EOF), err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		if err := emit(e); err != nil {
			return err
		}
	}
}

// logRoutes adds what the above ask for.
func (s *Server) logRoutes(mux *http.ServeMux) {
	mux.Handle("GET /v1/logs/source", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		src, err := s.backend.LogSource(r.Context(), r.FormValue("phone"))
		reply(w, src, err)
	}))
	mux.Handle("GET /v1/logs", http.HandlerFunc(s.sendLogs))
}

// sendLogs answers with a line of JSON for each event.
func (s *Server) sendLogs(w http.ResponseWriter, r *http.Request) {
	f := events.Filter{Part: r.FormValue("part"), MAC: r.FormValue("mac"), Extension: r.FormValue("extension")}
	follow := r.FormValue("follow") == "true"
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	_ = s.backend.Logs(r.Context(), f, follow, func(e events.Event) error { // the peer may have gone; nobody to tell
		if err := enc.Encode(e); err != nil || !follow {
			return err
		}
		return flush.Flush()
	})
}
