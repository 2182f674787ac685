package console

import (
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// recent are the answers that all pages share which fetch themselves again at the same moment. They are kept for as long as
// changes are collected, so that none is older than the change that a page has heard of.
type recent struct {
	mu      sync.Mutex // guards answers
	answers map[string]*recentAnswer
}

type recentAnswer struct {
	mu    sync.Mutex // held while it is asked for
	at    time.Time
	value any
}

func (r *recent) of(key string) *recentAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers == nil {
		r.answers = make(map[string]*recentAnswer)
	}
	if r.answers[key] == nil {
		r.answers[key] = &recentAnswer{}
	}
	return r.answers[key]
}

// share asks as get does. Of pages that fetch themselves again, one asks for all of a role: nobody may change the answer.
func share[Resp any](a asker, o control.Operation[control.None, Resp]) (Resp, error) {
	if a.r.Header.Get("HX-Request") == "" {
		return get(a, o, control.None{}) // somebody may have done something just before
	}
	e := a.s.recent.of(o.ID + " " + string(a.who.caller.Role))
	e.mu.Lock()
	defer e.mu.Unlock()
	if v, ok := e.value.(Resp); ok && time.Since(e.at) < settle {
		return v, nil
	}
	at := time.Now()
	v, err := get(a, o, control.None{})
	if err != nil {
		return v, err
	}
	e.at, e.value = at, v
	time.AfterFunc(settle, e.forget)
	return v, nil
}

// forget lets an answer go that is too old.
func (e *recentAnswer) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.at) >= settle {
		e.value = nil
	}
}
