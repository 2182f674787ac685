package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice = "00:15:65:00:00:01"

func newLogger(room int) (*Log, *slog.Logger, *bytes.Buffer) {
	l, out := NewLog(room), new(bytes.Buffer)
	text := slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return l, slog.New(l.Handler(text)), out
}

func messages(t *testing.T, l *Log, f Filter) []string {
	t.Helper()
	var out []string
	err := l.Read(t.Context(), f, false, func(e Event) error {
		out = append(out, e.Message)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A phone's story is what names it or its number, and nobody else's.
func TestStory(t *testing.T) {
	l, log, out := newLogger(100)
	dhcp, pbx := log.With("part", "dhcp"), log.With("part", "pbx")
	log.Info("phone looks for an address", "mac", alice, "extension", "100")
	dhcp.Info("lease", "mac", alice, "address", "192.168.1.10")
	dhcp.Info("lease", "mac", "00:15:65:00:00:02", "address", "192.168.1.11")
	pbx.Info("call began", "extension", "100", "peer", "101")
	pbx.Info("call began", "extension", "101", "peer", "100")
	log.Info("phone has registered", "mac", "00:15:65:00:00:09", "extension", "100") // a second phone of this number
	pbx.With("part", "calls").Debug("a detail", "mac", alice)
	want := []string{"phone looks for an address", "lease", "call began"}
	if got := messages(t, l, Filter{MAC: alice, Extension: "100"}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := messages(t, l, Filter{Part: "dhcp"}); len(got) != 2 {
		t.Errorf("of one part: %q", got)
	}
	if !strings.Contains(out.String(), `msg=lease part=dhcp mac=00:15:65:00:00:01 address=192.168.1.10`+"\n") ||
		!strings.Contains(out.String(), `msg="phone looks for an address" part=agent`) || strings.Contains(out.String(), "detail") {
		t.Errorf("passed on:\n%s", out)
	}
}

// What is about people goes no further than the daemon's memory when the operator wants so.
func TestPersonalDataIsLeftOut(t *testing.T) {
	l, log, out := newLogger(100)
	l.Keep(time.Hour, true)
	log.Info("call began", "mac", alice, "extension", "100", "peer", "0123456", "address", "192.168.1.10", "hostname", "alices-phone", "seconds", 3)
	if want := `level=INFO msg="call began" part=agent mac=00:15:65:00:00:01 seconds=3` + "\n"; out.String() != want {
		t.Errorf("passed on: %q, want %q", out, want)
	}
	if got := messages(t, l, Filter{MAC: alice}); len(got) != 1 {
		t.Errorf("remembered: %q", got)
	}
	l.Forget(time.Now().Add(59 * time.Minute))
	if got := messages(t, l, Filter{}); len(got) != 1 {
		t.Errorf("before the retention ends: %q", got)
	}
	l.Forget(time.Now().Add(61 * time.Minute))
	if got := messages(t, l, Filter{}); len(got) != 0 {
		t.Errorf("after it: %q", got)
	}
}

// What is told late stands where it has happened.
func TestOrder(t *testing.T) {
	l, log, out := newLogger(10)
	log.Info("file")
	log.Info("lease", KeyAt, time.Now().Add(-time.Minute), "mac", alice)
	if got := messages(t, l, Filter{}); !slices.Equal(got, []string{"lease", "file"}) {
		t.Errorf("%q", got)
	}
	if strings.Contains(out.String(), "at=") {
		t.Errorf("passed on: %s", out)
	}
}

// Only the newest of those that a filter picks, and then all that come.
func TestLast(t *testing.T) {
	l, log, _ := newLogger(100)
	for i := range 9 {
		log.Info(fmt.Sprint("event ", i), "mac", []string{alice, "00:15:65:00:00:02"}[i%2])
	}
	if got := messages(t, l, Filter{MAC: alice, Last: 2}); !slices.Equal(got, []string{"event 6", "event 8"}) {
		t.Errorf("%q", got)
	}
	if got := messages(t, l, Filter{Last: 20}); len(got) != 9 {
		t.Errorf("%q", got)
	}
	enough := errors.New("enough")
	var got []string
	err := l.Read(t.Context(), Filter{Last: 1}, true, func(e Event) error {
		if got = append(got, e.Message); len(got) == 1 {
			log.Info("event 9")
			log.Info("event 10")
		}
		if len(got) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(got, []string{"event 8", "event 9", "event 10"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRoomIsBounded(t *testing.T) {
	l, log, _ := newLogger(10)
	for range 1000 {
		log.Info("an event")
	}
	log.Info("the last")
	if got := messages(t, l, Filter{}); len(got) > 10 || got[len(got)-1] != "the last" {
		t.Errorf("%d events, the last of them %q", len(got), got[len(got)-1])
	}
}

// A reader that follows gets every event once, in order, and ends with its context.
func TestFollow(t *testing.T) {
	l, log, _ := newLogger(1000)
	log.Info("before")
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- l.Read(ctx, Filter{}, true, func(e Event) error {
			got <- e.Message
			return nil
		})
	}()
	for _, want := range []string{"before", "during"} {
		if m := <-got; m != want {
			t.Errorf("%q, want %q", m, want)
		}
		log.Info("during")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	gone := errors.New("the reader has gone")
	if err := l.Read(t.Context(), Filter{}, true, func(Event) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("an error of the reader's: %v", err)
	}
}

// slog's own rules for handlers: groups and attributes end up where they should.
func TestGroups(t *testing.T) {
	_, log, out := newLogger(10)
	log.WithGroup("g").With("a", 1).Info("m", "a", 2, "b", 3)
	if want := "level=INFO msg=m part=agent g.a=2 g.b=3\n"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}
