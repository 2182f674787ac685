// Package controltest is a daemon for tests: it answers on a control socket with
// the handlers that a test gives.
package controltest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Serve answers with handlers on a socket until the test ends, and returns the
// runtime directory that it is in. Each other operation is answered with 503 and its ID.
func Serve(t testing.TB, handlers ...control.Handler) (dir string) {
	t.Helper()
	return ServeLog(t, slog.New(slog.DiscardHandler), handlers...)
}

// ServeLog is Serve with a log for the orders.
func ServeLog(t testing.TB, log *slog.Logger, handlers ...control.Handler) (dir string) {
	t.Helper()
	for _, h := range handlers {
		if !declared(h) {
			t.Fatalf("%s is not one of control.Operations", h.Operation.ID)
		}
	}
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- control.NewServer(dir, control.NewDispatcher(func() []control.Handler { return handlers }, log, nil)).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control server: %v", err)
		}
	})
	Wait(t, dir)
	return dir
}

// Client returns a client of a daemon that Serve starts.
func Client(t testing.TB, handlers ...control.Handler) *control.Client {
	t.Helper()
	return control.NewClient(Serve(t, handlers...))
}

func declared(h control.Handler) bool {
	return slices.ContainsFunc(control.Operations(), func(d control.Declaration) bool { return d.Info() == h.Operation })
}

// Wait waits until a server answers on the socket in dir.
func Wait(t testing.TB, dir string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(dir, control.SocketName)); err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the control server does not answer")
		}
	}
}
