// Package problem is what is wrong with the appliance, in one list: status,
// doctor, verify, metrics, alerts and runbooks show the same.
//
// It knows kinds of problems and the words for them, not how one is found.
package problem

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// ID names a kind of problem. It is stable: alerts, runbooks and scripts use it.
type ID string

// Severity says how much a problem hurts.
type Severity string

// Severities.
const (
	Error   Severity = "error"   // something does not work
	Warning Severity = "warning" // it works, somebody should look
)

// Problem is one thing that is wrong.
type Problem struct {
	ID       ID       `json:"id"`
	Severity Severity `json:"severity"`
	Part     string   `json:"part"`
	What     string   `json:"what"`
	Fix      string   `json:"fix,omitempty"`
	// Subject is what it is about where there may be several: a MAC address, a
	// card, a stack.
	Subject string `json:"subject,omitempty"`
	// Since is when it was first seen. A Tracker fills it in.
	Since time.Time `json:"since,omitzero"`
}

// Sort orders problems for people: errors first, otherwise as they came.
func Sort(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Severity, b.Severity) })
}

// Tracker remembers since when problems last. Its methods may be called from any
// goroutine.
type Tracker struct {
	mu    sync.Mutex
	since map[Key]time.Time
}

// Key is what makes a problem the same one over time.
type Key struct {
	ID            ID
	Part, Subject string
}

// Key returns the problem's.
func (p Problem) Key() Key { return Key{p.ID, p.Part, p.Subject} }

// Update sets Since of each problem of a complete list, and forgets those that
// are not in it any more.
func (t *Tracker) Update(list []Problem, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[Key]time.Time, len(list))
	for i, p := range list {
		k := p.Key()
		first, ok := t.since[k]
		if !ok {
			first = now
		}
		next[k] = first
		list[i].Since = first
	}
	t.since = next
}
