package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Backups lets the command that makes a backup read what the daemon uses. The
// command makes it, not the daemon: files of containers and of the exchange can
// only be read with more rights than the daemon has.
type Backups interface {
	BackupPlan(ctx context.Context) (BackupPlan, error)
	// Hold has a part stand still until release is called.
	Hold(ctx context.Context, part string) (h Held, release func(), err error)
}

// BackupPlan says what belongs into a backup.
type BackupPlan struct {
	Site       string        `json:"site"`
	Dir        string        `json:"dir"`
	Keep       int           `json:"keep"`
	Recipients []string      `json:"recipients,omitempty"`
	StateDir   string        `json:"state_dir"`
	ConfigPath string        `json:"config_path"`
	Last       BackupOutcome `json:"last"` // of those that the daemon began
}

// BackupOutcome is how a backup of the daemon's own accord ended.
type BackupOutcome struct {
	At    time.Time `json:"at,omitzero"`
	Error string    `json:"error,omitempty"`
}

// Held is something that stands still.
type Held struct {
	Path string `json:"path"` // where it can be read
}

func (s *Server) backupRoutes(mux *http.ServeMux) {
	mux.Handle("GET /v1/backup", ask(s.backend.BackupPlan))
	mux.HandleFunc("POST /v1/backup/hold/{part...}", s.hold)
}

// hold answers when the part stands still, and lets it go when the peer closes
// the connection, however it ends.
func (s *Server) hold(w http.ResponseWriter, r *http.Request) {
	h, release, err := s.backend.Hold(r.Context(), r.PathValue("part"))
	if err != nil {
		s.log.Warn("a part does not stand still for a backup", "part", r.PathValue("part"), "err", err)
		reply(w, nil, err)
		return
	}
	defer release()
	w.Header().Set("Content-Type", "application/json")
	if json.NewEncoder(w).Encode(h) != nil || http.NewResponseController(w).Flush() != nil {
		return
	}
	<-r.Context().Done()
}

// BackupPlan asks what belongs into a backup.
func (c *Client) BackupPlan(ctx context.Context) (BackupPlan, error) {
	return call[BackupPlan](ctx, c, http.MethodGet, "/v1/backup", nil)
}

// Hold has a part stand still until release is called or this process ends.
func (c *Client) Hold(ctx context.Context, part string) (h Held, release func(), err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://sae-agent/v1/backup/hold/"+part, nil)
	if err != nil {
		return h, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return h, nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(resp.Body).Decode(&h)
	} else {
		err = readError(resp)
	}
	if err != nil {
		return h, nil, errors.Join(err, resp.Body.Close())
	}
	return h, func() { _ = resp.Body.Close() }, nil
}
