package session

import (
	"testing"
	"time"
)

func TestSessionsEnd(t *testing.T) {
	s, now := NewStore(), time.Now()
	s.now = func() time.Time { return now }
	idle, used := s.Start("alice", 1), s.Start("bob", 0)
	if e, ok := s.Get(idle, true); !ok || e.Account != "alice" || e.Epoch != 1 {
		t.Fatalf("%+v %t", e, ok)
	}
	for range 3 {
		now = now.Add(Idle - time.Minute)
		if _, ok := s.Get(used, true); !ok {
			t.Fatal("one that is used has ended")
		}
	}
	if _, ok := s.Get(idle, true); ok {
		t.Error("one that nobody uses goes on")
	}
	for now = now.Add(Idle - time.Minute); ; now = now.Add(Idle - time.Minute) {
		if _, ok := s.Get(used, true); !ok {
			break
		}
		if time.Until(now) > 2*Absolute {
			t.Fatal("one never ends")
		}
	}
	byItself := s.Start("carol", 0)
	now = now.Add(Idle - time.Minute)
	s.Get(byItself, false)
	now = now.Add(2 * time.Minute)
	if _, ok := s.Get(byItself, false); ok {
		t.Error("a page that is open keeps the session")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := NewStore()
	first := s.Start("alice", 0)
	for range 2 * maxSessions {
		s.Start("bob", 0)
	}
	if _, ok := s.Get(first, true); ok || len(s.list) > maxSessions {
		t.Errorf("%d sessions", len(s.list))
	}
}

func TestNotice(t *testing.T) {
	s := NewStore()
	id := s.Start("alice", 0)
	s.Notify(id, "done")
	s.Notify("nobody's", "x")
	if s.Notice(id) != "done" || s.Notice(id) != "" {
		t.Error("a notice is shown once")
	}
	s.End(id)
	if _, ok := s.Get(id, true); ok {
		t.Error("it goes on")
	}
}
