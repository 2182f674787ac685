package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// newLogger returns a logger to the journal where standard error leads there, with
// each attribute as a field of its own (journalctl SAE_MAC=00:15:65:…), else to w.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	if toJournal() {
		return slog.New(&journalHandler{level: level, send: journal.Send})
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// toJournal reports whether standard error leads to the journal.
func toJournal() bool {
	yes, err := journal.StderrIsJournalStream()
	return err == nil && yes
}

// journalHandler is a slog.Handler for the journal's own protocol.
type journalHandler struct {
	level  slog.Level
	send   func(message string, p journal.Priority, fields map[string]string) error
	attrs  []slog.Attr
	prefix string // of groups
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler. The message repeats the attributes, for who
// reads it without asking for fields.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{eventField: r.Message, timeField: strconv.FormatInt(r.Time.UnixMicro(), 10)}
	text := r.Message
	add := func(a slog.Attr) bool {
		value := a.Value.Resolve().String()
		fields[fieldName(h.prefix+a.Key)] = value
		if value != "" {
			text += " " + a.Key + "=" + value
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	return h.send(text, priority(r.Level), fields)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return &next
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.prefix += name + "_"
	return &next
}

// fieldName makes a field's name (systemd.journal-fields(7)): capital letters,
// digits and underscores, with a prefix that keeps it apart from others' fields.
func fieldName(key string) string {
	return fieldPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
