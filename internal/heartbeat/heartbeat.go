// Package heartbeat lets a loop that waits for packets be asked whether it still
// turns. Whoever asks interrupts its wait; the loop answers and waits again.
package heartbeat

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// Deadline is the read deadline of what a loop waits on.
type Deadline interface{ SetReadDeadline(time.Time) error }

// Loop is a loop that can be asked. The zero value is one that does not turn yet.
type Loop struct {
	mu      sync.Mutex // guards the following
	waits   Deadline   // nil while the loop does not turn
	waiting []chan struct{}
}

// Begin says that the loop turns, and waits on d.
func (l *Loop) Begin(d Deadline) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = d
}

// End says that the loop has ended by itself.
func (l *Loop) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = nil
	l.answer()
}

// Answered reports whether a read ended with err only because somebody asked. It
// answers, and the loop reads again.
func (l *Loop) Answered(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits != nil {
		_ = l.waits.SetReadDeadline(time.Time{}) // an error shows at the next read
	}
	l.answer()
	return true
}

// answer answers everybody. The caller holds l.mu.
func (l *Loop) answer() {
	for _, w := range l.waiting {
		close(w)
	}
	l.waiting = nil
}

// Ask returns when the loop has answered, or when it does not turn; an error when
// ctx ends before.
func (l *Loop) Ask(ctx context.Context) error {
	l.mu.Lock()
	if l.waits == nil {
		l.mu.Unlock()
		return nil
	}
	w := make(chan struct{})
	l.waiting = append(l.waiting, w)
	err := l.waits.SetReadDeadline(time.Unix(1, 0))
	l.mu.Unlock()
	if err != nil {
		return nil // it is closed: the loop ends
	}
	select {
	case <-w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
