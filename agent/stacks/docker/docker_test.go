package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon answers on a unix socket as Docker's does; the real one is met in the
// tests of package stacks.
func daemon(t *testing.T, answers map[string]any) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"page not found"}`)
			return
		}
		if f, ok := a.(http.HandlerFunc); ok {
			f(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(a)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return New(path)
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		api, min, want string
		err            error
	}{
		{"1.41", "1.12", "1.41", nil},  // Debian's docker.io
		{"1.51", "1.24", "1.50", nil},  // newer than we
		{"1.52", "1.44", "1.50", nil},  // Docker 29
		{"1.60", "1.51", "", ErrAPI},   // has dropped what we speak
		{"1.39", "1.12", "", ErrAPI},   // too old
		{"1.100", "1.44", "1.50", nil}, // numbers, not text
	} {
		got, err := negotiate(Version{Version: "x", API: tt.api, MinAPI: tt.min})
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("negotiate(%s, %s) = %q, %v; want %q, %v", tt.api, tt.min, got, err, tt.want, tt.err)
		}
	}
}

func TestContainers(t *testing.T) {
	c := daemon(t, map[string]any{
		"/version": map[string]string{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"},
		"/v1.41/containers/json": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := r.URL.Query().Get("filters"); !strings.Contains(f, "com.docker.compose.project=sae-jitsi") || r.URL.Query().Get("all") != "1" {
				t.Errorf("query %s", r.URL.RawQuery)
			}
			fmt.Fprint(w, `[
				{"Id":"1","Image":"web:1","State":"running","Status":"Up 2 minutes (healthy)","Created":1700000000,"Labels":{"com.docker.compose.service":"web"}},
				{"Id":"2","Image":"jvb:1","State":"running","Status":"Up 2 seconds (health: starting)","Labels":{"com.docker.compose.service":"jvb"}},
				{"Id":"3","Image":"jigasi:1","State":"exited","Status":"Exited (1) 3 minutes ago","Labels":{"com.docker.compose.service":"jigasi"}}]`)
		}),
	})
	got, err := c.Containers(t.Context(), "sae-jitsi")
	if err != nil {
		t.Fatal(err)
	}
	var up []string
	for _, x := range got {
		up = append(up, fmt.Sprintf("%s %s %t", x.Service, x.Health, x.Up()))
	}
	if d := cmp.Diff([]string{"web healthy true", "jvb starting false", "jigasi  false"}, up); d != "" {
		t.Error(d)
	}
}

func TestDaemonThatCannotBeAsked(t *testing.T) {
	if _, err := New(filepath.Join(t.TempDir(), "none.sock")).Info(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("no socket: %v", err)
	}
	old := daemon(t, map[string]any{"/version": map[string]string{"Version": "18.06", "ApiVersion": "1.38", "MinAPIVersion": "1.12"}})
	if _, err := old.Info(t.Context()); !errors.Is(err, ErrAPI) || !strings.Contains(err.Error(), "18.06") {
		t.Errorf("old daemon: %v", err)
	}
	strict := daemon(t, map[string]any{
		"/version": map[string]string{"ApiVersion": "1.50", "MinAPIVersion": "1.44"},
		"/v1.50/info": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"message":"client version 1.50 is too new. Maximum supported API version is 1.49"}`)
		}),
	})
	if _, err := strict.Info(t.Context()); !errors.Is(err, ErrAPI) {
		t.Errorf("daemon that changed: %v", err)
	}
	if _, err := strict.Image(t.Context(), "registry.example:5000/jitsi/web:1@sha256:ab"); !errors.Is(err, ErrNotFound) {
		t.Errorf("image that is not there: %v", err)
	}
}

func TestEvents(t *testing.T) {
	more := make(chan struct{})
	c := daemon(t, map[string]any{
		"/version": map[string]string{"ApiVersion": "1.41", "MinAPIVersion": "1.12"},
		"/v1.41/events": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			for range 2 {
				<-more
				fmt.Fprintln(w, `{"Type":"container","Action":"die"}`)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan struct{}, 3)
	done := make(chan error, 1)
	go func() { done <- c.Events(ctx, func() { heard <- struct{}{} }) }()
	for i := range 3 {
		if i > 0 {
			more <- struct{}{}
		}
		select {
		case <-heard:
		case <-time.After(time.Minute):
			t.Fatalf("event %d was not heard", i)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Events() = %v", err)
	}
}
