package control

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// sink takes an operation's answer.
type sink interface {
	json(v any) error
	item(v any) error
	io.Writer
	flush() error
}

// answer is one operation's answer. What follows the first write comes too late to
// be an error's status.
type answer struct {
	w     http.ResponseWriter
	begun bool
}

func (a *answer) begin(contentType string) {
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", contentType)
	}
}

func (a *answer) flush() error { return http.NewResponseController(a.w).Flush() }

// json answers with one value.
func (a *answer) json(v any) error {
	a.begin("application/json")
	return json.NewEncoder(a.w).Encode(v)
}

// item sends one value of several.
func (a *answer) item(v any) error {
	a.begin("application/x-ndjson")
	if err := json.NewEncoder(a.w).Encode(v); err != nil {
		return err
	}
	return a.flush()
}

// Write implements io.Writer: it sends text.
func (a *answer) Write(b []byte) (int, error) {
	a.begin("text/plain; charset=utf-8")
	n, err := a.w.Write(b)
	if err == nil {
		err = a.flush()
	}
	return n, err
}

// fail answers with an error. An answer that has begun is cut off, so that nobody
// takes it for a whole one.
func (a *answer) fail(err error) {
	if a.begun {
		if c, _, err := http.NewResponseController(a.w).Hijack(); err == nil {
			_ = c.Close()
		}
		return
	}
	e := &Error{Code: http.StatusInternalServerError, Message: err.Error()}
	errors.As(err, &e)
	a.begun = true
	a.w.Header().Set("Content-Type", "application/json")
	a.w.WriteHeader(e.Code)
	_ = json.NewEncoder(a.w).Encode(e) // the peer may have gone
}
