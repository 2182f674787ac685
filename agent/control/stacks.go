package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Stacks are the servers in containers.
type Stacks interface {
	Stacks(ctx context.Context) ([]Stack, error)
	StackUp(ctx context.Context, name string) error
	StackDown(ctx context.Context, name string) error
	StackUpdate(ctx context.Context, name string, o StackUpdateOptions) (StackUpdate, error)
	StackHistory(ctx context.Context) ([]StackUpdate, error)
	// StackLogins gives first passwords, once.
	StackLogins(ctx context.Context, name string) (StackLogins, error)
	// StackLogs writes what the containers have said, and goes on doing so if asked to.
	StackLogs(ctx context.Context, w io.Writer, name string, o StackLogOptions) error
}

// Stack is a server in containers.
type Stack struct {
	Name      string            `json:"name"`
	State     string            `json:"state"` // off, stopped, starting, healthy, degraded, blocked or updating
	Since     time.Time         `json:"since"`
	URL       string            `json:"url,omitempty"`     // of its page
	Cause     string            `json:"cause,omitempty"`   // a word for what is wrong
	Problem   string            `json:"problem,omitempty"` // the same in a sentence
	Fix       string            `json:"fix,omitempty"`
	NextTry   time.Time         `json:"next_try,omitzero"`
	Repairs   uint64            `json:"repairs"` // times that it was brought back
	Notes     []string          `json:"notes,omitempty"`
	Services  []StackService    `json:"services,omitempty"`
	Available map[string]string `json:"available,omitempty"` // newer images, by service
	Gateway   string            `json:"gateway,omitempty"`   // Jitsi's SIP gateway at the exchange: registered, not registered, or not known
}

// StackService is one service of a stack.
type StackService struct {
	Name   string `json:"name"`
	Image  string `json:"image"`
	Up     bool   `json:"up"`
	Status string `json:"status,omitempty"` // in Docker's words
}

// StackUpdateOptions say how far an update may go.
type StackUpdateOptions struct {
	Major bool `json:"major,omitempty"` // to the next major version
}

// StackUpdate is an update that was tried.
type StackUpdate struct {
	Time    time.Time         `json:"time"`
	Stack   string            `json:"stack"`
	Outcome string            `json:"outcome"` // updated, rolled back, abandoned or broken
	From    map[string]string `json:"from,omitempty"`
	To      map[string]string `json:"to,omitempty"` // empty: nothing was newer
	Detail  string            `json:"detail,omitempty"`
	Backup  string            `json:"backup,omitempty"` // folder
}

// StackLogins are first passwords.
type StackLogins struct {
	URL    string       `json:"url"`
	Logins []StackLogin `json:"logins,omitempty"`
	Shown  string       `json:"shown,omitempty"` // when they were shown, if it was before
}

// StackLogin is an account and its first password.
type StackLogin struct {
	Account  string `json:"account"`
	Password string `json:"password"`
}

// StackLogOptions say which lines of the logs are wanted.
type StackLogOptions struct {
	Service string // empty: all
	Lines   int    // of each service, from the end
	Follow  bool
}

func (s *Server) stackRoutes(mux *http.ServeMux) {
	b := s.backend
	mux.Handle("GET /v1/stacks", ask(b.Stacks))
	mux.Handle("GET /v1/stacks-history", ask(b.StackHistory))
	mux.HandleFunc("GET /v1/stacks/{stack}/logs", s.stackLogs)
	mux.Handle("POST /v1/stacks/{stack}/up", s.change("stack up", func(r *http.Request) (any, error) {
		return nil, b.StackUp(r.Context(), r.PathValue("stack"))
	}))
	mux.Handle("POST /v1/stacks/{stack}/down", s.change("stack down", func(r *http.Request) (any, error) {
		return nil, b.StackDown(r.Context(), r.PathValue("stack"))
	}))
	mux.Handle("POST /v1/stacks/{stack}/update", s.change("stack update", with(func(r *http.Request, o StackUpdateOptions) (any, error) {
		return b.StackUpdate(r.Context(), r.PathValue("stack"), o)
	})))
	mux.Handle("POST /v1/stacks/{stack}/logins", s.change("show first passwords", func(r *http.Request) (any, error) {
		return b.StackLogins(r.Context(), r.PathValue("stack"))
	}))
}

// stackLogs streams text: an error before the first line is an answer of its own.
func (s *Server) stackLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o := StackLogOptions{Service: q.Get("service"), Follow: q.Has("follow")}
	var err error
	if o.Lines, err = strconv.Atoi(q.Get("lines")); err != nil || o.Lines < 0 {
		reply(w, nil, &Error{Code: http.StatusBadRequest, Message: "lines must be a number"})
		return
	}
	out := &flushing{w: w}
	if err := s.backend.StackLogs(r.Context(), out, r.PathValue("stack"), o); err != nil && !out.begun && !errors.Is(err, context.Canceled) {
		reply(w, nil, err)
	}
}

// flushing sends every line on as it comes.
type flushing struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flushing) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// Stacks asks how the stacks are.
func (c *Client) Stacks(ctx context.Context) ([]Stack, error) {
	return call[[]Stack](ctx, c, http.MethodGet, "/v1/stacks", nil)
}

// StackUp brings a stack up and waits until it is.
func (c *Client) StackUp(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodPost, stackPath(name, "up"), nil)
	return err
}

// StackDown stops a stack until StackUp.
func (c *Client) StackDown(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodPost, stackPath(name, "down"), nil)
	return err
}

// StackUpdate updates a stack and waits for the outcome.
func (c *Client) StackUpdate(ctx context.Context, name string, o StackUpdateOptions) (StackUpdate, error) {
	return call[StackUpdate](ctx, c, http.MethodPost, stackPath(name, "update"), o)
}

// StackHistory asks for the updates that were tried.
func (c *Client) StackHistory(ctx context.Context) ([]StackUpdate, error) {
	return call[[]StackUpdate](ctx, c, http.MethodGet, "/v1/stacks-history", nil)
}

// StackLogins asks for first passwords, which are told once.
func (c *Client) StackLogins(ctx context.Context, name string) (StackLogins, error) {
	return call[StackLogins](ctx, c, http.MethodPost, stackPath(name, "logins"), nil)
}

// StackLogs writes what the containers have said.
func (c *Client) StackLogs(ctx context.Context, w io.Writer, name string, o StackLogOptions) error {
	q := url.Values{"service": {o.Service}, "lines": {strconv.Itoa(o.Lines)}}
	if o.Follow {
		q.Set("follow", "1")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sae-agent"+stackPath(name, "logs")+"?"+q.Encode(), nil)
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
	if _, err := io.Copy(w, resp.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

func stackPath(name, what string) string { return "/v1/stacks/" + url.PathEscape(name) + "/" + what }
