// Package signal tells a loop that it has something to look at. Any number of
// notifications that come before it looks are one.
package signal

import "sync"

// Signal is a notification that coalesces. Make it with New.
type Signal struct{ c chan struct{} }

// New returns a signal that nobody has notified yet.
func New() Signal { return Signal{make(chan struct{}, 1)} }

// Notify has the loop look once more. It never waits.
func (s Signal) Notify() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// C delivers a value once Notify was called. One loop reads it.
func (s Signal) C() <-chan struct{} { return s.c }

// Broadcast is a notification for any number of waiters, each of whom asks for Next
// before looking at what it is about. The zero value is ready for use.
type Broadcast struct {
	mu   sync.Mutex // guards the following
	next chan struct{}
}

// Next returns a channel that the next Notify closes.
func (b *Broadcast) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

// Notify wakes everybody who waits. It never waits.
func (b *Broadcast) Notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}
