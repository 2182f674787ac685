// Package parttest is a host for tests of parts.
package parttest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

// Host runs nothing, and remembers what a part has told it.
type Host struct {
	In     part.Input
	Places part.Paths
	Run    part.Runner
	Log    *slog.Logger
	// Changes counts the calls of Changed.
	Changes atomic.Int64
	// File is what Edit changes; what it was asked with is in Edits.
	File  []byte
	Edits []control.EditOptions
	// Renewed are the names that Renew was given. OnRenew is Renew; nil: it succeeds.
	Renewed []string
	OnRenew func() error
	// OnSettle is Settle. Nil: all is as it should be.
	OnSettle func(ctx context.Context) error

	mu sync.Mutex // held by Edit
}

// Edited returns File, and how often Edit was called, while something may still edit.
func (h *Host) Edited() (file string, edits int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.File), len(h.Edits)
}

// New returns a host that has a configuration in force, and folders of the test's own.
func New(t testing.TB, c *config.Config) *Host {
	t.Helper()
	return &Host{
		In:     part.Input{Generation: 1, Config: c, Secrets: map[string]string{}},
		Places: part.Paths{State: t.TempDir(), Runtime: t.TempDir()},
		Log:    slog.New(slog.DiscardHandler),
	}
}

// Logger implements part.Host.
func (h *Host) Logger(name string) *slog.Logger { return h.Log.With("part", name) }

// Paths implements part.Host.
func (h *Host) Paths() part.Paths { return h.Places }

// Running implements part.Host.
func (h *Host) Running() part.Input { return h.In }

// Changed implements part.Host.
func (h *Host) Changed() { h.Changes.Add(1) }

// Settle implements part.Host.
func (h *Host) Settle(ctx context.Context, _ string) error {
	if h.OnSettle == nil {
		return nil
	}
	return h.OnSettle(ctx)
}

// Renew implements part.Host.
func (h *Host) Renew(_ context.Context, names ...string) ([]control.Behind, error) {
	h.Renewed = append(h.Renewed, names...)
	if h.OnRenew == nil {
		return nil, nil
	}
	return nil, h.OnRenew()
}

// Reconciled implements part.Host.
func (h *Host) Reconciled(string, time.Duration, error) {}

// Runner implements part.Host.
func (h *Host) Runner() part.Runner { return h.Run }

// Edit implements part.Host: it changes File.
func (h *Host) Edit(_ context.Context, o control.EditOptions, change func(*edit.File) error) (control.Plan, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Edits = append(h.Edits, o)
	f, err := edit.Parse(h.File)
	if err == nil {
		err = change(f)
	}
	if err == nil && !o.DryRun {
		h.File = f.Bytes()
	}
	return control.Plan{}, err
}
