package events

import (
	"context"
	"log/slog"
	"slices"
)

// defaultPart is who speaks when no part is named.
const defaultPart = "agent"

// Handler returns a slog.Handler that remembers what it is told and passes it on,
// with the part first.
func (l *Log) Handler(next slog.Handler) slog.Handler { return &handler{log: l, next: next} }

type handler struct {
	log    *Log
	next   slog.Handler
	attrs  []slog.Attr
	prefix string // of groups
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler. Of two values of a key, the later one counts.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	part, at, fields := defaultPart, r.Time, make([]Field, 0, len(h.attrs)+r.NumAttrs())
	take := func(a slog.Attr) bool {
		if a.Key == KeyAt && a.Value.Kind() == slog.KindTime {
			at = a.Value.Time()
			return true
		}
		f := Field{a.Key, a.Value.Resolve().String()}
		if f.Key == KeyPart {
			part = f.Value
			return true
		}
		if i := slices.IndexFunc(fields, func(o Field) bool { return o.Key == f.Key }); i >= 0 {
			fields[i] = f
			return true
		}
		fields = append(fields, f)
		return true
	}
	for _, a := range h.attrs {
		take(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		return take(a)
	})
	e := Event{Time: at, Level: r.Level, Part: part, Message: r.Message, Fields: fields}
	omit := false
	if r.Level >= slog.LevelInfo { // details are for who looks at the log itself
		omit = h.log.add(e)
	} else {
		omit = h.log.omits()
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, e.record(r.PC, omit))
}

func (l *Log) omits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.omit
}

// record makes a log record of an event, without what is about people if omit says so.
func (e Event) record(pc uintptr, omit bool) slog.Record {
	r := slog.NewRecord(e.Time, e.Level, e.Message, pc)
	r.AddAttrs(slog.String(KeyPart, e.Part))
	for _, f := range e.Fields {
		if !omit || !slices.Contains(personal, f.Key) {
			r.AddAttrs(slog.String(f.Key, f.Value))
		}
	}
	return r
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		next.attrs = append(next.attrs, a)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	next := *h
	next.prefix += name + "."
	return &next
}
