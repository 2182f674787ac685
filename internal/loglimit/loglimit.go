// Package loglimit keeps what anybody can send from filling the log.
//
// A packet from outside may cause a line, and anybody can send a great many. A
// Handler passes on a few lines of each kind about each station, and a few of each
// kind about all stations together, since a sender can invent stations; what it
// leaves out it counts, and Run logs the counts. A kind is a message, which never
// contains a value.
//
// A station that the operator has named is not held back by the lines about
// others: there are only so many of them. A record is about one when it has both
// its MAC and its extension.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Keys of the attributes that tell which station a record is about.
const (
	keyMAC       = "mac"
	keyExtension = "extension"
	keyAddress   = "address"
	keyAddr      = "addr"
	keyPart      = "part"
)

// Options say how much is passed on. Records below slog.LevelInfo are never held
// back: they are there only where somebody asked for all of them.
type Options struct {
	// StationBurst lines of a kind about one station are passed on at once, then one each StationEvery.
	StationBurst int
	StationEvery time.Duration
	// KindBurst lines of a kind are passed on at once, then one each KindEvery.
	KindBurst int
	KindEvery time.Duration
	// ReportEvery is how often Run logs how many were left out.
	ReportEvery time.Duration
}

// Defaults are the limits of a daemon that serves a thousand stations.
func Defaults() Options {
	return Options{StationBurst: 5, StationEvery: time.Minute, KindBurst: 64, KindEvery: time.Second, ReportEvery: 10 * time.Second}
}

const (
	// maxKinds bounds the kinds told apart; those beyond share a limit. There are as many as there are messages in the
	// program, unless a message contains a value.
	maxKinds = 512
	// maxStations bounds the stations told apart in a kind; those beyond are held back by the kind's limit alone.
	maxStations = 8192
)

// Handler is a slog.Handler in front of another one.
type Handler struct {
	limits  *limits
	next    slog.Handler
	station station
	inGroup bool // attributes that are added now have a group's prefix
}

// station is who a record is about, as far as its attributes tell.
type station struct{ mac, extension, address, part string }

// limits is what a Handler shares with those made from it.
type limits struct {
	opts Options
	root slog.Handler // takes the counts of what was left out

	mu    sync.Mutex // guards the following
	kinds map[string]*kind
}

// kind is the lines with the same message.
type kind struct {
	level    slog.Level
	part     string
	all      *rate.Limiter
	stations map[string]*rate.Limiter
	leftOut  uint64 // since the last report
}

// NewHandler returns a handler that passes on to next what o allows.
func NewHandler(next slog.Handler, o Options) *Handler {
	return &Handler{limits: &limits{opts: o, root: next, kinds: make(map[string]*kind)}, next: next}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		about := h.station
		if !h.inGroup {
			r.Attrs(func(a slog.Attr) bool {
				about.note(a)
				return true
			})
		}
		if !h.limits.allow(r, about) {
			return nil
		}
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.next = h.next.WithAttrs(attrs)
	if !h.inGroup {
		for _, a := range attrs {
			next.station.note(a)
		}
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	next := *h
	next.next = h.next.WithGroup(name)
	next.inGroup = next.inGroup || name != ""
	return &next
}

func (s *station) note(a slog.Attr) {
	switch a.Key {
	case keyMAC:
		s.mac = a.Value.Resolve().String()
	case keyExtension:
		s.extension = a.Value.Resolve().String()
	case keyAddress, keyAddr:
		s.address = a.Value.Resolve().String()
	case keyPart:
		s.part = a.Value.Resolve().String()
	}
}

// name returns what the station goes by; empty when the record is about none.
func (s station) name() string {
	if s.mac != "" {
		return s.mac
	}
	return s.address
}

// named reports whether the operator has named the station.
func (s station) named() bool { return s.mac != "" && s.extension != "" }

// allow reports whether a record is passed on, and counts it when it is not.
func (l *limits) allow(r slog.Record, about station) bool {
	now := r.Time
	if now.IsZero() {
		now = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kind(r.Message)
	k.level, k.part = r.Level, about.part
	if l.passes(k, about, now) {
		return true
	}
	k.leftOut++
	return false
}

// passes takes from the station's limit and, unless the operator has named it, from
// that of all. A station is remembered only when it was let through, so that
// invented ones fill the memory no faster than the log. The caller holds l.mu.
func (l *limits) passes(k *kind, about station, now time.Time) bool {
	name := about.name()
	own := k.stations[name]
	if own != nil && own.TokensAt(now) < 1 {
		return false
	}
	if !about.named() && !k.all.AllowN(now, 1) {
		return false
	}
	if name == "" {
		return true
	}
	if own == nil {
		if len(k.stations) >= maxStations {
			return !about.named() || k.all.AllowN(now, 1)
		}
		own = rate.NewLimiter(rate.Every(l.opts.StationEvery), l.opts.StationBurst)
		k.stations[name] = own
	}
	return own.AllowN(now, 1)
}

// kind returns the state of a kind. The caller holds l.mu.
func (l *limits) kind(message string) *kind {
	if k := l.kinds[message]; k != nil {
		return k
	}
	if len(l.kinds) >= maxKinds {
		message = ""
		if k := l.kinds[message]; k != nil {
			return k
		}
	}
	k := &kind{all: rate.NewLimiter(rate.Every(l.opts.KindEvery), l.opts.KindBurst), stations: make(map[string]*rate.Limiter)}
	l.kinds[message] = k
	return k
}

// forgetIdle drops the stations that have been quiet for so long that nothing of
// them is held back. The caller holds l.mu.
func (l *limits) forgetIdle(k *kind, now time.Time) {
	for name, own := range k.stations {
		if own.TokensAt(now) >= float64(l.opts.StationBurst) {
			delete(k.stations, name)
		}
	}
}

// Run logs from time to time how many lines were left out, until ctx ends.
func (h *Handler) Run(ctx context.Context) {
	tick := time.NewTicker(h.limits.opts.ReportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			h.Report(context.WithoutCancel(ctx), time.Now())
			return
		case now := <-tick.C:
			h.Report(ctx, now)
		}
	}
}

// Report logs how many lines of each kind were left out since it did so last.
func (h *Handler) Report(ctx context.Context, now time.Time) {
	for _, r := range h.limits.report(now) {
		_ = h.limits.root.Handle(ctx, r) // a log that cannot be written has nobody to tell
	}
}

func (l *limits) report(now time.Time) (out []slog.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for message, k := range l.kinds {
		l.forgetIdle(k, now)
		if k.leftOut == 0 {
			continue
		}
		r := slog.NewRecord(now, k.level, "too many lines of a kind, some were left out", 0)
		if k.part != "" {
			r.AddAttrs(slog.String(keyPart, k.part))
		}
		r.AddAttrs(slog.String("kind", message), slog.Uint64("lines", k.leftOut))
		out = append(out, r)
		k.leftOut = 0
	}
	return out
}
