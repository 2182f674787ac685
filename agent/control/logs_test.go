package control

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/sae-agent/sae-agent/agent/events"
)

func (f *fake) LogSource(_ context.Context, phone string) (LogSource, error) {
	return LogSource{Journal: true, MAC: phone, Extension: "100"}, f.err
}

// Logs tells two events, and waits for the end when it is to follow.
func (f *fake) Logs(ctx context.Context, filter events.Filter, follow bool, emit func(events.Event) error) error {
	for _, m := range []string{"lease", "phone fetched its file"} {
		e := events.Event{Message: m, Part: filter.Part, Fields: []events.Field{{Key: events.KeyMAC, Value: filter.MAC}, {Key: events.KeyExtension, Value: filter.Extension}}}
		if err := emit(e); err != nil {
			return err
		}
	}
	if follow {
		<-ctx.Done()
	}
	return nil
}

func TestLogs(t *testing.T) {
	c := start(t, t.TempDir(), &fake{}, slog.New(slog.DiscardHandler))
	src, err := c.LogSource(t.Context(), "00:15:65:00:00:01")
	if err != nil || !src.Journal || src.Extension != "100" || src.MAC != "00:15:65:00:00:01" {
		t.Errorf("%+v, %v", src, err)
	}
	f := events.Filter{Part: "dhcp", MAC: src.MAC, Extension: src.Extension}
	var got []events.Event
	if err := c.Logs(t.Context(), f, false, func(e events.Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].Message != "phone fetched its file" || got[0].Get("mac") != f.MAC || got[0].Get("extension") != "100" || got[0].Part != "dhcp" {
		t.Errorf("%+v", got)
	}
	// One that follows gets events as they come, and ends when it has enough.
	enough := errors.New("enough")
	n := 0
	err = c.Logs(t.Context(), f, true, func(events.Event) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("after %d events: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Logs(ctx, f, true, func(events.Event) error { cancel(); return nil })
	if err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
