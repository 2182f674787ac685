package signal_test

import (
	"testing"

	"github.com/sae-agent/sae-agent/internal/signal"
)

func TestNotificationsCoalesce(t *testing.T) {
	s := signal.New()
	select {
	case <-s.C():
		t.Error("a new signal was notified")
	default:
	}
	for range 3 {
		s.Notify()
	}
	<-s.C()
	select {
	case <-s.C():
		t.Error("three notifications were more than one")
	default:
	}
	s.Notify()
	<-s.C()
}

func TestBroadcast(t *testing.T) {
	var b signal.Broadcast
	b.Notify() // nobody waits, and nobody who comes later is told
	first, second := b.Next(), b.Next()
	select {
	case <-first:
		t.Fatal("told of what was before")
	default:
	}
	b.Notify()
	<-first
	<-second
	select {
	case <-b.Next():
		t.Error("told twice")
	default:
	}
}
