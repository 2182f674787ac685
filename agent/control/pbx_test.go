package control

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func (f *fake) Extensions(context.Context) ([]Extension, error) {
	return []Extension{{Number: "100", Name: "Alice", Phones: []string{}, Registrations: []Registration{{Address: "192.168.1.20", RoundTrip: time.Millisecond}}}}, f.err
}

func (f *fake) PBXStatus(context.Context) (PBXStatus, error) {
	return PBXStatus{Driver: "asterisk", State: "well", Story: []PBXEvent{{What: "answers"}}}, f.err
}

func (f *fake) RestartPBX(_ context.Context, o RestartOptions) error {
	if !o.Force {
		return &Error{Code: http.StatusConflict, Message: "calls go on"}
	}
	return f.err
}

func (f *fake) ResyncPhones(_ context.Context, o ResyncOptions) ([]Resync, error) {
	return []Resync{{MAC: o.MAC, State: ResyncDone, Detail: o.Wait.String()}}, f.err
}

// What the agent says of the exchange is what the command gets.
func TestPBX(t *testing.T) {
	b := &fake{}
	c := start(t, t.TempDir(), b, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	want, _ := b.Extensions(ctx)
	if got, err := c.Extensions(ctx); err != nil || !cmp.Equal(got, want) {
		t.Errorf("extensions: %v, %s", err, cmp.Diff(want, got))
	}
	status, _ := b.PBXStatus(ctx)
	if got, err := c.PBXStatus(ctx); err != nil || !cmp.Equal(got, status) {
		t.Errorf("status: %v, %s", err, cmp.Diff(status, got))
	}
	if err := c.RestartPBX(ctx, RestartOptions{}); err == nil || err.Error() != "calls go on" {
		t.Errorf("restart: %v", err)
	}
	if err := c.RestartPBX(ctx, RestartOptions{Force: true}); err != nil {
		t.Errorf("restart by force: %v", err)
	}
	resync := []Resync{{MAC: "00:15:65:12:34:56", State: ResyncDone, Detail: "1m0s"}}
	if got, err := c.ResyncPhones(ctx, ResyncOptions{MAC: "00:15:65:12:34:56", Wait: time.Minute}); err != nil || !cmp.Equal(got, resync) {
		t.Errorf("resync: %v, %s", err, cmp.Diff(resync, got))
	}
}
