package phones

import (
	"context"
	"log/slog"
	"time"
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
	began   time.Time // its first DISCOVER
	reached [stageCount]bool
}

// bootBegins notes a phone's DISCOVER. The caller holds s.mu.
func (s *Service) bootBegins(p *seen, at time.Time) {
	if p.boot.reached == [stageCount]bool{} && at.Sub(p.boot.began) < bootTime {
		return // it repeats itself
	}
	p.boot = boot{began: at}
	phone, known := s.named(p.mac)
	switch {
	case known:
		s.metrics.boots.Inc()
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "phone looks for an address", slog.Time("at", at), slog.String("mac", p.mac.String()), slog.String("extension", phone.Extension))
	default:
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "an unknown phone looks for an address", slog.Time("at", at), slog.String("mac", p.mac.String()))
	}
	// What DHCP has seen is told a little later than what phones ask us themselves.
	if p.lastFetch.After(at) {
		s.bootReaches(p, stageFile, p.lastFetch)
	}
	if p.registered.After(at) {
		s.bootReaches(p, stageRegistered, p.registered)
	}
}

// bootReaches notes that a phone has come as far as a stage. It reports whether it
// has for the first time in this boot. The caller holds s.mu.
func (s *Service) bootReaches(p *seen, stage int, at time.Time) bool {
	if p.boot.began.IsZero() || p.boot.reached[stage] {
		return false
	}
	p.boot.reached[stage] = true
	took := at.Sub(p.boot.began)
	if _, known := s.named(p.mac); known && took < bootTime {
		s.metrics.stages.WithLabelValues(stageNames[stage]).Observe(max(0, took.Seconds()))
	}
	if p.boot.reached[stageLease] && p.boot.reached[stageRegistered] {
		p.boot = boot{} // it is up
	}
	return true
}
