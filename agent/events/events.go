// Package events remembers what has happened, so that an operator can be told a
// phone's whole story in order: what the daemon logs passes through here, and what
// is about people is left out on its way to the journal if the operator wants so.
//
// It knows keys and values, and nothing of what they mean but which of them are
// about people.
package events

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Keys that every part uses for the same thing. In the journal they are SAE_PART,
// SAE_MAC, SAE_EXTENSION and SAE_ADDRESS.
const (
	KeyPart      = "part"
	KeyMAC       = "mac"
	KeyExtension = "extension"
	KeyAddress   = "address"
	// KeyAt is when it has happened, where that was before it is logged.
	KeyAt = "at"
)

// personal are the keys whose values are about people: their numbers, names and
// addresses. A MAC is a device's; without it no phone could be looked after.
var personal = []string{KeyExtension, KeyAddress, "name", "hostname", "peer", "alert", "detail", "circuit", "number"}

// Field is one value of an event.
type Field struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Event is something that has happened.
type Event struct {
	Time    time.Time  `json:"time"`
	Level   slog.Level `json:"level"`
	Part    string     `json:"part"`
	Message string     `json:"message"` // the same for all events of a kind
	Fields  []Field    `json:"fields,omitempty"`
}

// Get returns a field's value; empty when there is none.
func (e Event) Get(key string) string {
	for _, f := range e.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Filter picks events. The zero value picks all.
type Filter struct {
	Part string
	// A phone, and the number it has: its story is what names either, but not what
	// happened to another phone of the number.
	MAC, Extension string
	// Last is how many of those that there are already, the newest ones; 0 is all.
	Last int
}

// Match reports whether the filter picks an event.
func (f Filter) Match(e Event) bool {
	if f.Part != "" && e.Part != f.Part {
		return false
	}
	if f.MAC == "" {
		return true
	}
	mac := e.Get(KeyMAC)
	return mac == f.MAC || mac == "" && f.Extension != "" && e.Get(KeyExtension) == f.Extension
}

// Log remembers the latest events, as many as there is room for. Its methods may be
// called from any goroutine.
type Log struct {
	room int

	mu        sync.Mutex // guards the following
	list      []Event
	dropped   uint64 // events that were before list
	retention time.Duration
	omit      bool
	more      chan struct{} // closed at the next event
}

// NewLog returns a log with room for so many events.
func NewLog(room int) *Log { return &Log{room: room, more: make(chan struct{})} }

// Keep sets for how long events are remembered, and whether what is about people is
// left out of what is passed on.
func (l *Log) Keep(retention time.Duration, omitPersonal bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retention, l.omit = retention, omitPersonal
}

// Forget drops what is older than the retention.
func (l *Log) Forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retention <= 0 {
		return
	}
	old := 0
	for old < len(l.list) && now.Sub(l.list[old].Time) > l.retention {
		old++
	}
	l.drop(old)
}

// drop forgets the first events. The caller holds l.mu.
func (l *Log) drop(n int) {
	if n == 0 {
		return
	}
	l.list = slices.Delete(l.list, 0, n)
	l.dropped += uint64(n)
}

// add remembers an event. It reports whether personal values go no further.
func (l *Log) add(e Event) (omit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) >= l.room { // a good many at once, so that it costs little each time
		l.drop(max(1, l.room/10))
	}
	l.list = append(l.list, e)
	close(l.more)
	l.more = make(chan struct{})
	return l.omit
}

// next returns the events from a position on that the filter picks, the position after them, and a channel that is
// closed when there are more.
func (l *Log) next(from uint64, f Filter) (out []Event, end uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = max(from, l.dropped)
	for _, e := range slices.Backward(l.list[from-l.dropped:]) {
		if f.Last > 0 && len(out) == f.Last {
			break
		}
		if f.Match(e) {
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out, l.dropped + uint64(len(l.list)), l.more
}

// Read tells emit the events that the filter picks, oldest first; with follow also
// those that come, until ctx ends. An error of emit ends it.
func (l *Log) Read(ctx context.Context, f Filter, follow bool, emit func(Event) error) error {
	var at uint64
	for {
		list, end, more := l.next(at, f)
		at, f.Last = end, 0
		slices.SortStableFunc(list, func(a, b Event) int { return a.Time.Compare(b.Time) }) // not always told in order
		for _, e := range list {
			if err := emit(e); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}
