package stacks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// A backup that comes in the middle of an update waits for its end; while one that
// failed is not undone there is nothing worth a copy, and the stack is not kept.
func TestBackupInTheMiddleOfAnUpdate(t *testing.T) {
	s := idle(t)
	st := s.stacks["nextcloud"]

	if err := st.begin(t.Context()); err != nil { // as an update does
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Hold(impatient, "nextcloud"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hold() while an update is under way = %v", err)
	}
	if err := st.save(&transaction{ID: "1", Stack: "nextcloud", Phase: goingBack}); err != nil {
		t.Fatal(err)
	}
	st.end()
	_, err := s.Hold(t.Context(), "nextcloud")
	var p *Problem
	if !errors.As(err, &p) || !strings.Contains(p.What, "not undone yet") || p.Fix == "" {
		t.Errorf("Hold() while an update is not undone = %v", err)
	}
	if err := os.Remove(st.transactionFile()); err != nil {
		t.Fatal(err)
	}
	release, err := s.Hold(t.Context(), "nextcloud")
	if err != nil {
		t.Fatalf("Hold() afterwards = %v", err)
	}
	release()
	if err := st.begin(t.Context()); err != nil {
		t.Error("the stack is kept")
	}
	st.end()
}

// idle is a service with a Docker that has nothing.
func idle(t *testing.T) *Service {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"ApiVersion":"1.41","MinAPIVersion":"1.12"}`)
			return
		}
		fmt.Fprint(w, `[]`) // nothing runs
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Socket: socket, Runner: fakeRunner{"": runner.Result{}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// An app store that does not answer holds nobody up, is asked by one at a time, and then left alone for a while.
func TestSlowExtraHoldsNobodyUp(t *testing.T) {
	st := idle(t).stacks["nextcloud"]
	asked, answer, over := make(chan struct{}, 2), make(chan struct{}), make(chan struct{})
	talk := kind.Extra{Name: "talk", Digest: "1", Missing: "there are no calls", Add: func(context.Context, kind.Inside) error {
		asked <- struct{}{}
		<-answer
		return errors.New("the store is away")
	}}
	go func() { defer close(over); st.addExtra(t.Context(), talk) }()
	<-asked
	if err := st.begin(t.Context()); err != nil { // as an update does
		t.Fatal(err)
	}
	_ = st.current()
	st.end()
	close(answer)
	<-over
	st.addExtra(t.Context(), talk)
	if len(asked) > 0 {
		t.Error("it was asked again at once")
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if notes := st.extraNotes(); len(notes) != 1 || notes[0].What != "there are no calls: the store is away" {
		t.Errorf("%+v", notes)
	}
}
