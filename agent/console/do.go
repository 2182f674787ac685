package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// doTime bounds an order that a form gives.
const doTime = time.Hour

// backField is a form's field with the page to go back to.
const backField = "_back"

// result is what a page of an order's result shows.
type result struct {
	ID, Summary, Back string
	Request, Value    any
}

// do carries out the operation that a form is for. What was begun goes on when the
// browser leaves.
func (s *Server) do(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	patient(w)
	op, ok := s.pages.calls[r.PathValue("id")]
	if !ok || len(r.URL.Query()) > 0 {
		http.NotFound(w, r)
		return
	}
	back := local(r.PostForm.Get(backField))
	r.PostForm.Del(backField)
	req, err := control.ParseForm(op, r.PostForm)
	if err != nil {
		s.showError(w, r, v, err)
		return
	}
	ctx, cancel := context.WithTimeout(s.base, doTime)
	defer cancel()
	value, err := s.src.Dispatcher.Do(ctx, v.caller, op, req)
	if err != nil {
		s.showError(w, r, v, err)
		return
	}
	if name := "result-" + op.ID; s.pages.has(name) {
		s.render(w, r, name, v, http.StatusOK, result{op.ID, op.Summary, back, req, value})
		return
	}
	s.sessions.Notify(v.session, op.Order)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// callsByID are the operations that a form can be for.
func callsByID() map[string]control.Info {
	out := make(map[string]control.Info)
	for _, d := range control.Operations() {
		if op := d.Info(); op.Kind == control.KindCall {
			out[op.ID] = op
		}
	}
	return out
}

// failure is what the page of an error shows.
type failure struct {
	Message string
	Details []string
	Back    string
}

func (s *Server) showError(w http.ResponseWriter, r *http.Request, v visit, err error) {
	f, code := failureOf(err)
	f.Back = local(r.PostForm.Get(backField))
	s.render(w, r, "error", v, code, f)
}

func failureOf(err error) (failure, int) {
	var known *control.Error
	if errors.As(err, &known) {
		return failure{Message: err.Error(), Details: known.Details}, known.Code
	}
	return failure{Message: err.Error()}, http.StatusInternalServerError
}
