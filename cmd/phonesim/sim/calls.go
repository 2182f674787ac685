package sim

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

const (
	callTime = 2 * time.Minute // for one call, on a slow machine
	talking  = 20              // calls at the same time, which are 2,000 packets a second
	// AllCalls makes as many test calls as there are pairs of phones.
	AllCalls = math.MaxInt
)

// Call is how a test call between two phones fared.
type Call struct {
	From  string        `json:"from"`
	To    string        `json:"to"`
	Setup time.Duration `json:"setup_ns,omitempty"` // from dialling to ringing
	Audio bool          `json:"audio"`              // each heard the other
	Lamp  bool          `json:"busy_lamp"`          // the caller's lamp for the other line followed the call
	Error string        `json:"error,omitempty"`
}

// OK reports whether all of it was right.
func (c Call) OK() bool { return c.Error == "" && c.Audio && c.Lamp }

// toneOf is what the n-th phone sends in a call, in Hz. Phones that are in calls at
// the same time have different ones.
func toneOf(n int) float64 { return float64(400 + 20*(n%100)) }

// makeCalls has phones call each other two by two, in the order of their extensions:
// the first the second, the third the fourth. An odd one is left out. What is wrong
// with a call is in its result.
func (f *Fleet) makeCalls(ctx context.Context) error {
	lines := slices.DeleteFunc(slices.Clone(f.handsets), func(h *handset) bool { return h.now.Load().State != Registered })
	slices.SortStableFunc(lines, func(a, b *handset) int { return compareNumbers(a.extension(), b.extension()) })
	n := min(f.opts.Calls, len(lines)/2)
	if n == 0 {
		return errors.New("no test call: there are no two registered phones")
	}
	slots := make(chan struct{}, talking)
	var running sync.WaitGroup
	defer running.Wait()
	for i := range n {
		slots <- struct{}{}
		running.Go(func() {
			f.noteCall(call(ctx, lines[2*i], lines[2*i+1]))
			<-slots
		})
	}
	return nil
}

// call makes one test call.
func call(ctx context.Context, from, to *handset) Call {
	ctx, cancel := context.WithTimeoutCause(ctx, callTime, errors.New("the call takes too long"))
	defer cancel()
	p := sipcall.Prove(ctx, from.line, to.line)
	c := Call{From: from.extension(), To: to.extension(), Setup: p.Setup, Audio: p.Call == nil && p.Audio == nil, Lamp: p.Lamp == nil}
	if p.Err() != nil {
		c.Error = p.String()
	}
	return c
}

func (f *Fleet) noteCall(c Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
	slices.SortFunc(f.calls, func(a, b Call) int { return compareNumbers(a.From, b.From) })
}

// Calls returns how the test calls were; it may be called while Run runs.
func (f *Fleet) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (h *handset) extension() string { return h.now.Load().Extension }

// compareNumbers has 99 before 100.
func compareNumbers(a, b string) int {
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(x, y)
}
