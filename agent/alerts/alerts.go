// Package alerts tells people and programs of problems that have begun and ended.
//
// What a place was told is compared with what lasts, so that nothing is lost while a
// place does not answer, and what came and went meanwhile is not told at all. It is
// kept on disk: a restart tells nothing again.
package alerts

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// How long a problem lasts before it is reported, and how long it must be gone. What lasts half as long goes along
// with another.
const (
	errorHold   = time.Minute
	warningHold = 5 * time.Minute
	endHold     = 2 * time.Minute
)

// Pauses after failed deliveries, doubled from the first to the last.
const (
	firstPause = time.Minute
	lastPause  = 30 * time.Minute
)

const (
	sendTimeout = 30 * time.Second
	checkEvery  = 5 * time.Second
)

// Message is what a place is told.
type Message struct {
	// ID is the same each time that the same message is tried.
	ID   string
	Site string
	Host string
	At   time.Time
	New  []problem.Problem
	// Ended are problems that are gone.
	Ended []problem.Problem
	// Lasting counts the problems that go on, the new ones among them.
	Lasting int
	// Test says that somebody tries whether messages arrive.
	Test bool
}

// Target is a place that messages go to.
type Target interface {
	// Name is the target's name: mail and an address, or webhook.
	Name() string
	// Send returns nil once the place has taken the message.
	Send(ctx context.Context, m Message) error
}

// Config says who is told of what.
type Config struct {
	Targets    []Target
	ErrorsOnly bool
	// Every is the least time between two messages to a target.
	Every      time.Duration
	Site, Host string
}

// Service tells targets of problems.
type Service struct {
	config Config
	path   string
	// problems returns what is wrong now; false while that is not known.
	problems func() ([]problem.Problem, bool)
	log      *slog.Logger

	began time.Time
	seen  map[problem.Key]sighting
	state state

	mu       sync.Mutex         // guards the following, by target
	retry    map[string]attempt // those that are tried again
	failures map[string]Failure
}

// sighting is when a problem was there.
type sighting struct {
	first, last time.Time
	problem     problem.Problem
}

type attempt struct {
	pause time.Duration
	next  time.Time
}

// Failure is a target that has not taken a message.
type Failure struct {
	Target string
	Since  time.Time
	Err    error
}

// New returns a service that keeps what was told at path.
func New(c Config, path string, problems func() ([]problem.Problem, bool), log *slog.Logger) *Service {
	s := &Service{
		config: c, path: path, problems: problems, log: log,
		seen: make(map[problem.Key]sighting), retry: make(map[string]attempt), failures: make(map[string]Failure),
	}
	s.state = readState(path, log)
	return s
}

// Run tells targets of problems until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		s.step(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// step compares once, and sends what is due.
func (s *Service) step(ctx context.Context, now time.Time) {
	list, ok := s.problems()
	if !ok {
		return
	}
	if s.began.IsZero() {
		s.began = now
	}
	s.note(list, now)
	var all sync.WaitGroup // a target that does not answer keeps no other waiting
	results := make([]error, len(s.config.Targets))
	messages := make([]*Message, len(s.config.Targets))
	for i, t := range s.config.Targets {
		if messages[i] = s.due(t.Name(), now); messages[i] != nil {
			s.state.target(t.Name()).Outbox = messages[i]
		}
	}
	if !slices.ContainsFunc(messages, func(m *Message) bool { return m != nil }) {
		return
	}
	s.save() // before sending: after a crash the same message goes under the same name
	for i, t := range s.config.Targets {
		if messages[i] != nil {
			all.Go(func() { results[i] = send(ctx, t, *messages[i]) })
		}
	}
	all.Wait()
	if ctx.Err() != nil {
		return
	}
	for i, t := range s.config.Targets {
		if messages[i] != nil {
			s.sent(t.Name(), *messages[i], results[i], now)
		}
	}
	s.save()
}

func send(ctx context.Context, t Target, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return t.Send(ctx, m)
}

// note remembers what is wrong now, and forgets what nobody was told of and is gone.
func (s *Service) note(list []problem.Problem, now time.Time) {
	for _, p := range list {
		if s.config.ErrorsOnly && p.Severity != problem.Error {
			continue
		}
		k := p.Key()
		was, ok := s.seen[k]
		if !ok || was.problem.Severity != p.Severity && now.Sub(was.first) < hold(was.problem) {
			was.first = now
		}
		s.seen[k] = sighting{was.first, now, p}
	}
	maps.DeleteFunc(s.seen, func(_ problem.Key, g sighting) bool { return now.Sub(g.last) >= endHold })
}

func hold(p problem.Problem) time.Duration {
	if p.Severity == problem.Error {
		return errorHold
	}
	return warningHold
}

// due returns the message that a target should get now, or nil.
func (s *Service) due(target string, now time.Time) *Message {
	t := s.state.target(target)
	if now.Before(s.nextTry(target)) || now.Sub(t.Sent) < s.config.Every && !now.Before(t.Sent) {
		return nil
	}
	reported := make(map[problem.Key]bool, len(t.Reported))
	m := &Message{Site: s.config.Site, Host: s.config.Host, At: now}
	due := false
	for _, p := range t.Reported {
		reported[p.Key()] = true
		if _, there := s.seen[p.Key()]; !there && now.Sub(s.began) >= endHold {
			m.Ended, due = append(m.Ended, p), true
		}
	}
	for k, g := range s.seen {
		if reported[k] || !g.last.Equal(now) || k.ID == problem.AlertsNotDelivered && k.Subject == target {
			continue
		}
		age, need := now.Sub(g.first), hold(g.problem)
		if age >= need/2 {
			p := g.problem
			p.Since = g.first
			m.New = append(m.New, p)
		}
		due = due || age >= need
	}
	if !due {
		return nil
	}
	m.Lasting = len(t.Reported) - len(m.Ended) + len(m.New)
	sortProblems(m.New)
	sortProblems(m.Ended)
	if old := t.Outbox; old != nil && sameKeys(old.New, m.New) && sameKeys(old.Ended, m.Ended) {
		return old
	}
	m.ID = newID()
	return m
}

// nextTry is when a target is tried again that has not taken its last message.
func (s *Service) nextTry(target string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retry[target].next
}

func newID() string { return "sae-agent-" + rand.Text() }

// sortProblems puts errors first.
func sortProblems(list []problem.Problem) {
	slices.SortFunc(list, func(a, b problem.Problem) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Part, b.Part), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Subject, b.Subject))
	})
}

func sameKeys(a, b []problem.Problem) bool {
	return slices.EqualFunc(a, b, func(a, b problem.Problem) bool { return a.Key() == b.Key() })
}

// sent notes how a delivery ended.
func (s *Service) sent(target string, m Message, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		a := s.retry[target]
		a.pause = min(max(2*a.pause, firstPause), lastPause)
		a.next = now.Add(a.pause)
		s.retry[target] = a
		f, failed := s.failures[target]
		if !failed {
			f = Failure{Target: target, Since: now}
		}
		f.Err = err
		s.failures[target] = f
		s.log.Warn("an alert was not delivered", "target", target, "err", err, "retry", a.pause)
		return
	}
	delete(s.retry, target)
	delete(s.failures, target)
	t := s.state.target(target)
	t.Sent, t.Outbox = now, nil
	t.Reported = slices.DeleteFunc(t.Reported, func(p problem.Problem) bool {
		return slices.ContainsFunc(m.Ended, func(e problem.Problem) bool { return e.Key() == p.Key() })
	})
	t.Reported = append(t.Reported, m.New...)
	s.log.Info("alert sent", "target", target, "new", len(m.New), "ended", len(m.Ended))
}

// Targets lists the names of the targets, in the order of the configuration.
func (s *Service) Targets() (names []string) {
	for _, t := range s.config.Targets {
		names = append(names, t.Name())
	}
	return names
}

// Failures lists the targets that have not taken their last message, by name.
func (s *Service) Failures() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.failures), func(a, b Failure) int { return cmp.Compare(a.Target, b.Target) })
}

// Test sends a message to each target and returns why one has not taken it, by name. What waits for a target that has
// taken it is sent at once.
func (s *Service) Test(ctx context.Context) map[string]error {
	out := make(map[string]error)
	var mu sync.Mutex
	var all sync.WaitGroup
	m := Message{ID: newID(), Site: s.config.Site, Host: s.config.Host, At: time.Now(), Test: true}
	for _, t := range s.config.Targets {
		all.Go(func() {
			err := send(ctx, t, m)
			if err == nil {
				s.answers(t.Name())
			}
			mu.Lock()
			defer mu.Unlock()
			out[t.Name()] = err
		})
	}
	all.Wait()
	return out
}

// answers notes that a target takes messages again.
func (s *Service) answers(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.retry, target)
	delete(s.failures, target)
}

func (s *Service) save() {
	names := make(map[string]bool)
	for _, t := range s.config.Targets {
		names[t.Name()] = true
	}
	maps.DeleteFunc(s.state.Targets, func(n string, _ *targetState) bool { return !names[n] })
	if err := s.state.write(s.path); err != nil { // a full disk is a reason to send, not one to be silent
		s.log.Warn("what was told of problems cannot be kept: a restart may tell it again", "err", fmt.Errorf("alerts: %w", err))
	}
}
