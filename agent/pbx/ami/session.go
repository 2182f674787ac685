package ami

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
)

// session is one connection.
type session struct {
	conn    net.Conn
	onEvent func(Message)
	greeted chan struct{} // closed when it is Asterisk that speaks
	booted  chan struct{} // closed by FullyBooted
	done    chan struct{} // closed when the connection has ended

	// prefix begins each ActionID. A caller can make Asterisk write short lines of the caller's own, an account with line
	// breaks in it: they must not pass for the answer to an action.
	prefix string

	write sync.Mutex // held while an action is written

	mu      sync.Mutex // guards the following
	last    uint64     // number of the ActionID given out last
	waiting map[string]*answer
	err     error // why it has ended
	ready   bool  // booted is closed
}

// answer gathers what comes for one action.
type answer struct {
	action string
	isList bool
	events []Message
	result chan result // gets exactly one, unless the session ends
}

type result struct {
	response Message
	events   []Message
	err      error
}

func newSession(conn net.Conn, onEvent func(Message)) *session {
	if onEvent == nil {
		onEvent = func(Message) {}
	}
	return &session{
		conn: conn, onEvent: onEvent, prefix: rand.Text()[:12] + "-", waiting: make(map[string]*answer),
		greeted: make(chan struct{}), booted: make(chan struct{}), done: make(chan struct{}),
	}
}

// end ends the session; the first reason counts.
func (s *session) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return
	default:
	}
	s.err = why
	close(s.done)
	_ = s.conn.Close()
}

func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return ErrNotConnected
	}
	return s.err
}

// read takes in all that comes, until the end of the session.
func (s *session) read() {
	d := newDecoder(s.conn)
	err := d.greeting()
	if err != nil {
		s.end(err)
		return
	}
	close(s.greeted)
	for err == nil {
		var m Message
		if m, err = d.message(); err == nil {
			s.take(m)
		}
	}
	s.end(fmt.Errorf("ami: the connection to Asterisk broke: %w", err))
}

// take passes one message on to who waits for it.
func (s *session) take(m Message) {
	event := m.Event()
	s.mu.Lock()
	if event == "FullyBooted" && !s.ready {
		s.ready = true
		close(s.booted)
	}
	id := m.Get("ActionID")
	a := s.waiting[id]
	if a != nil && a.add(m) {
		delete(s.waiting, id)
	}
	s.mu.Unlock()
	if a == nil && event != "" {
		s.onEvent(m)
	}
}

// add takes a message in, and reports whether the answer is complete.
func (a *answer) add(m Message) bool {
	if m.Event() == "" {
		switch {
		case !strings.EqualFold(m.Get("Response"), "Success"):
			a.result <- a.refused(m.Get("Message"))
		case !a.isList:
			a.result <- result{response: m}
		default:
			return false
		}
		return true
	}
	switch list := m.Get("EventList"); {
	case strings.EqualFold(list, "Complete"):
		a.result <- result{events: a.events}
		return true
	case strings.EqualFold(list, "Cancelled"):
		a.result <- result{err: &ResponseError{a.action, "Asterisk broke the list off"}}
		return true
	}
	a.events = append(a.events, m)
	return false
}

// refused tells a list with nothing in it, which Asterisk calls an error ("No Contacts found"), from a real one.
func (a *answer) refused(message string) result {
	if a.isList && strings.HasPrefix(message, "No ") && strings.HasSuffix(message, " found") {
		return result{}
	}
	return result{err: &ResponseError{a.action, cmp.Or(message, "it failed")}}
}

// wait waits for something that Asterisk does, called what in the error.
func (s *session) wait(ctx context.Context, event <-chan struct{}, what string) error {
	select {
	case <-event:
		return nil
	case <-s.done:
		return s.reason()
	case <-ctx.Done():
		return fmt.Errorf("ami: %s: %w", what, ctx.Err())
	}
}

func (s *session) ask(ctx context.Context, a Action) (Message, error) {
	r := s.send(ctx, a, false)
	return r.response, r.err
}

func (s *session) list(ctx context.Context, a Action) ([]Message, error) {
	r := s.send(ctx, a, true)
	return r.events, r.err
}

// send writes an action and waits for its answer.
func (s *session) send(ctx context.Context, a Action, isList bool) result {
	w := &answer{action: a.Name, isList: isList, result: make(chan result, 1)}
	s.mu.Lock()
	s.last++
	id := s.prefix + strconv.FormatUint(s.last, 10)
	s.waiting[id] = w
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	if err := s.put(ctx, a, id); err != nil {
		return result{err: err}
	}
	select {
	case r := <-w.result:
		return r
	case <-s.done:
		return result{err: fmt.Errorf("ami: %s: %w", a.Name, s.reason())}
	case <-ctx.Done():
		return result{err: fmt.Errorf("ami: %s: no answer: %w", a.Name, ctx.Err())}
	}
}

func (s *session) put(ctx context.Context, a Action, id string) error {
	data, err := a.encode(id)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	deadline, _ := ctx.Deadline() // the zero time is none
	if err := s.conn.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("ami: %s: %w", a.Name, err)
	}
	if _, err := s.conn.Write(data); err != nil {
		// Half of an action may have gone: nothing can follow it.
		err = fmt.Errorf("ami: %s: %w", a.Name, err)
		s.end(err)
		return err
	}
	return nil
}
