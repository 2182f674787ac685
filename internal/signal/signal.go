// Package signal tells a loop that it has something to look at. Any number of
// notifications that come before it looks are one.
package signal

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
