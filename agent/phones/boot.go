package phones

import (
	"time"

	"golang.org/x/time/rate"
)

// Stages of a phone's boot, in their order.
const (
	stageLease      = iota // it has its address
	stageFile              // it was given its own file
	stageRegistered        // the exchange has accepted it
	stageCount
)

var stageNames = [stageCount]string{"lease", "file", "registered"}

// bootTime is how long a phone may take to boot; a DISCOVER within it, before any
// answer, is the same boot's.
const bootTime = 10 * time.Minute

// boot is a phone that comes up. The zero value is one that does not.
type boot struct {
	began time.Time // its first DISCOVER
	next  int       // stage that it has not reached yet
}

// newStrangers bounds the lines in the log about phones that nobody has named: their
// MACs are anybody's to invent.
func newStrangers() *rate.Limiter { return rate.NewLimiter(rate.Every(time.Second), 100) }

// bootBegins notes a phone's DISCOVER. The caller holds s.mu.
func (s *Service) bootBegins(p *seen, at time.Time) {
	if p.boot.next == stageLease && at.Sub(p.boot.began) < bootTime {
		return // it repeats itself
	}
	p.boot = boot{began: at}
	phone, known := s.named(p.mac)
	if !known {
		if s.strangers.Allow() {
			s.log.Info("an unknown phone looks for an address", "mac", p.mac.String())
		}
		return
	}
	s.metrics.boots.Inc()
	s.log.Info("phone looks for an address", "mac", p.mac.String(), "extension", phone.Extension)
}

// bootReaches notes that a phone has come as far as a stage. It reports whether it
// has for the first time in this boot. The caller holds s.mu.
func (s *Service) bootReaches(p *seen, stage int) bool {
	if p.boot.began.IsZero() || stage < p.boot.next {
		return false
	}
	p.boot.next = stage + 1
	took := s.deps.Now().Sub(p.boot.began)
	if _, known := s.named(p.mac); known && took < bootTime {
		s.metrics.stages.WithLabelValues(stageNames[stage]).Observe(max(0, took.Seconds()))
	}
	if p.boot.next == stageCount {
		p.boot = boot{}
	}
	return true
}
