// Package session remembers who is logged in at the console. Sessions are in memory
// only: who restarts the daemon logs in again.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	// Idle is how long a session lasts without a request.
	Idle = time.Hour
	// Absolute is how long one lasts at most.
	Absolute = 12 * time.Hour
	// maxSessions bounds those of everybody together.
	maxSessions = 1000
)

// Session is one browser that is logged in.
type Session struct {
	Account string
	Epoch   int // of the account's password
	started time.Time
	used    time.Time
	notice  string
}

// Store holds the sessions. Its methods may be called from any goroutine.
type Store struct {
	now func() time.Time

	mu   sync.Mutex // guards the following
	list map[[32]byte]*Session
}

// NewStore returns a store without sessions.
func NewStore() *Store { return &Store{now: time.Now, list: make(map[[32]byte]*Session)} }

func key(id string) [32]byte { return sha256.Sum256([]byte(id)) }

// Start begins a session and returns its name, which is nobody's before.
func (s *Store) Start(account string, epoch int) (id string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, crypto/rand
	id = base64.RawURLEncoding.EncodeToString(b[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	now := s.now()
	s.list[key(id)] = &Session{Account: account, Epoch: epoch, started: now, used: now}
	return id
}

// sweep forgets those that are over, and the one that was used least lately when
// there are too many. The caller holds s.mu.
func (s *Store) sweep() {
	var oldest [32]byte
	var at time.Time
	for k, e := range s.list {
		if s.over(e) {
			delete(s.list, k)
		} else if at.IsZero() || e.used.Before(at) {
			oldest, at = k, e.used
		}
	}
	if len(s.list) >= maxSessions {
		delete(s.list, oldest)
	}
}

func (s *Store) over(e *Session) bool {
	now := s.now()
	return now.Sub(e.used) > Idle || now.Sub(e.started) > Absolute
}

// Get returns a session that goes on. used says that a person has asked, not a page
// by itself.
func (s *Store) Get(id string, used bool) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.list[key(id)]
	if !ok || s.over(e) {
		delete(s.list, key(id))
		return Session{}, false
	}
	if used {
		e.used = s.now()
	}
	return *e, true
}

// End ends a session.
func (s *Store) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, key(id))
}

// Notify leaves a notice for the next page of a session.
func (s *Store) Notify(id, notice string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.list[key(id)]; ok {
		e.notice = notice
	}
}

// Notice takes what Notify has left.
func (s *Store) Notice(id string) (notice string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.list[key(id)]; ok {
		notice, e.notice = e.notice, ""
	}
	return notice
}
