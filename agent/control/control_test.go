package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/control/controltest"
	"github.com/sae-agent/sae-agent/agent/events"
)

func TestOrdersAreLogged(t *testing.T) {
	var log bytes.Buffer
	dir := controltest.ServeLog(t, slog.New(slog.NewTextHandler(&log, nil)),
		control.Handle(control.ApprovePhone, func(_ context.Context, a control.Approval) (control.Plan, error) {
			if a.Extension == "666" {
				return control.Plan{}, &control.Error{Code: http.StatusConflict, Message: "taken"}
			}
			return control.Plan{}, nil
		}),
		control.Handle(control.ListLeases, func(context.Context, control.None) ([]control.Lease, error) { return nil, nil }),
	)
	c := control.NewClient(dir)
	if fi, err := os.Stat(filepath.Join(dir, control.SocketName)); err != nil || fi.Mode().Perm()&0o007 != 0 {
		t.Errorf("socket mode %v, %v: others may not open it", fi.Mode(), err)
	}
	if _, err := control.Call(t.Context(), c, control.ListLeases, control.None{}); err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("a query was logged as an order:\n%s", log.String())
	}
	a := control.Approval{MAC: "00:15:65:12:34:56", Extension: "102"}
	if _, err := control.Call(t.Context(), c, control.ApprovePhone, a); err != nil {
		t.Error(err)
	}
	a.Extension = "666"
	if _, err := control.Call(t.Context(), c, control.ApprovePhone, a); err == nil || err.Error() != "taken" {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{`order="approve phone"`, fmt.Sprintf("uid=%d", os.Getuid()), "mac=00:15:65:12:34:56", "carried out", "failed", "err=taken"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, log.String())
		}
	}
}

// Who asks is known by the kernel.
func TestCallerPID(t *testing.T) {
	pid := 0
	c := controltest.Client(t, control.Handle(control.ListLeases, func(ctx context.Context, _ control.None) ([]control.Lease, error) {
		pid = control.CallerPID(ctx)
		return nil, nil
	}))
	if _, err := control.Call(t.Context(), c, control.ListLeases, control.None{}); err != nil || pid != os.Getpid() {
		t.Errorf("process %d: %v", pid, err)
	}
	if got := control.CallerPID(t.Context()); got != 0 {
		t.Errorf("where nobody asks: process %d", got)
	}
}

func TestErrorsReachTheOperator(t *testing.T) {
	bad := &control.Error{Code: http.StatusUnprocessableEntity, Message: "config.yaml has 2 errors", Details: []string{"config.yaml:3:5: …", "config.yaml:9:1: …"}}
	c := controltest.Client(t,
		control.Handle(control.ApplyConfig, func(context.Context, control.ApplyOptions) (control.Plan, error) {
			return control.Plan{}, fmt.Errorf("apply: %w", bad)
		}),
		control.Handle(control.GetPlan, func(context.Context, control.None) (control.Plan, error) {
			return control.Plan{}, errors.New("disk full")
		}),
		control.Unavailable(control.ListLeases, "dhcp is off in the configuration"),
	)
	_, err := control.Call(t.Context(), c, control.ApplyConfig, control.ApplyOptions{})
	var got *control.Error
	if !errors.As(err, &got) {
		t.Fatalf("the error is %T: %v", err, err)
	}
	if d := cmp.Diff(bad, got); d != "" {
		t.Errorf("error differs (-want +got):\n%s", d)
	}
	_, err = control.Call(t.Context(), c, control.GetPlan, control.None{})
	if !errors.As(err, &got) || got.Code != http.StatusInternalServerError || got.Message != "disk full" {
		t.Errorf("got %v", err)
	}
	_, err = control.Call(t.Context(), c, control.ListLeases, control.None{})
	if !errors.As(err, &got) || got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Message, "dhcp is off in the configuration") {
		t.Errorf("got %v", err)
	}
}

// Handlers come and go while the server runs.
func TestHandlersComeAndGo(t *testing.T) {
	var on atomic.Bool
	h := control.Handle(control.ListLeases, func(context.Context, control.None) ([]control.Lease, error) {
		return []control.Lease{{Address: "192.168.1.10"}}, nil
	})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := control.NewServer(dir, control.NewDispatcher(func() []control.Handler {
		if on.Load() {
			return []control.Handler{h}
		}
		return nil
	}, slog.New(slog.DiscardHandler), nil))
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	controltest.Wait(t, dir)
	for _, want := range []bool{false, true, false} {
		on.Store(want)
		if _, err := control.Call(ctx, control.NewClient(dir), control.ListLeases, control.None{}); (err == nil) != want {
			t.Errorf("with a handler %t: %v", want, err)
		}
	}
}

// raw sends a request as it is and returns the answer's status and text.
func raw(t *testing.T, dir, method, target, body string) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, control.SocketName))
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://sae-agent"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestWhatIsNotDeclaredIsRefused(t *testing.T) {
	called := false
	note := func() { called = true }
	dir := controltest.Serve(t,
		control.Handle(control.ApprovePhone, func(context.Context, control.Approval) (control.Plan, error) { note(); return control.Plan{}, nil }),
		control.Handle(control.ConfirmConfig, func(context.Context, control.None) (control.None, error) { note(); return control.None{}, nil }),
		control.Handle(control.TestFirewall, func(context.Context, control.FirewallQuestion) (control.FirewallAnswer, error) {
			note()
			return control.FirewallAnswer{}, nil
		}),
		control.HandleStream(control.ReadLogs, func(context.Context, control.LogsRequest, func(events.Event) error) error { note(); return nil }),
	)
	const approve = "/v1/phones/00:15:65:12:34:56/approve"
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		say                        string
	}{
		{"unknown key", "POST", approve, `{"extension": "100", "modle": "T42U"}`, 400, `unknown field \"modle\"`},
		{"parameter in the body", "POST", approve, `{"extension": "100", "mac": "x"}`, 400, `\"mac\"`},
		{"wrong type", "POST", approve, `{"extension": 100}`, 400, `\"extension\" must be of type string, not number`},
		{"not an object", "POST", approve, `[]`, 400, "not valid"},
		{"not JSON", "POST", approve, `extension=100`, 400, "not valid"},
		{"cut off", "POST", approve, `{"extension": "100"`, 400, "not valid"},
		{"trailing data", "POST", approve, `{"extension": "100"} {}`, 400, "after its JSON object"},
		{"too large", "POST", approve, `{"extension": "` + strings.Repeat("1", 1<<21) + `"}`, 413, "longer than"},
		{"a body where none belongs", "POST", "/v1/confirm", `{"number": 1}`, 400, "unknown field"},
		{"unknown parameter", "GET", "/v1/firewall/test?form=wan", "", 400, `\"form\"`},
		{"parameter twice", "GET", "/v1/firewall/test?from=wan&from=lan", "", 400, "2 times"},
		{"parameter out of range", "GET", "/v1/firewall/test?port=65536", "", 400, "from 0 to 65535"},
		{"parameter of another type", "GET", "/v1/logs?follow=maybe", "", 400, "neither true nor false"},
		{"query that cannot be read", "GET", "/v1/logs?part=%zz", "", 400, "not valid"},
		{"another version", "GET", "/v2/status", "", 404, ""},
		{"another method", "POST", "/v1/firewall/test", "", 405, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text := raw(t, dir, c.method, c.target, c.body)
			if status != c.status || !strings.Contains(text, c.say) {
				t.Errorf("%d %s; want %d and %s", status, text, c.status, c.say)
			}
		})
	}
	if called {
		t.Error("a handler was called")
	}
	if status, text := raw(t, dir, "POST", approve, ""); status != http.StatusOK || !called {
		t.Errorf("an empty body is the zero request: %d %s", status, text)
	}
}

// A name that would lead to another route is refused before it is sent.
func TestNamesThatArePaths(t *testing.T) {
	c := controltest.Client(t)
	for _, mac := range []string{"", ".", ".."} {
		_, err := control.Call(t.Context(), c, control.ForgetPhone, control.PhoneRequest{MAC: mac})
		var e *control.Error
		if !errors.As(err, &e) || e.Code != http.StatusBadRequest {
			t.Errorf("%q: %v", mac, err)
		}
	}
}

// What stands still goes on when it is released, and when the command just dies.
func TestHold(t *testing.T) {
	released := make(chan string)
	c := controltest.Client(t, control.HandleHold(control.HoldForBackup, func(_ context.Context, r control.HoldRequest) (control.Held, func(), error) {
		if r.Part == "busy" {
			return control.Held{}, nil, &control.Error{Code: http.StatusConflict, Message: "an update is under way"}
		}
		return control.Held{Path: "/run/" + r.Part}, func() { released <- r.Part }, nil
	}))
	h, release, err := control.CallHold(t.Context(), c, control.HoldForBackup, control.HoldRequest{Part: "stack/nextcloud"})
	if err != nil || h.Path != "/run/stack/nextcloud" {
		t.Fatalf("held %+v, %v", h, err)
	}
	select {
	case <-released:
		t.Fatal("it was let go at once")
	default:
	}
	release()
	if part := <-released; part != "stack/nextcloud" {
		t.Errorf("released %q", part)
	}
	ctx, die := context.WithCancel(t.Context())
	if _, _, err := control.CallHold(ctx, c, control.HoldForBackup, control.HoldRequest{Part: "leases"}); err != nil {
		t.Fatal(err)
	}
	die()
	if part := <-released; part != "leases" {
		t.Errorf("released %q", part)
	}
	if _, _, err := control.CallHold(t.Context(), c, control.HoldForBackup, control.HoldRequest{Part: "busy"}); err == nil || err.Error() != "an update is under way" {
		t.Errorf("got %v", err)
	}
}

func TestStream(t *testing.T) {
	c := controltest.Client(t, control.HandleStream(control.ReadLogs, func(ctx context.Context, r control.LogsRequest, emit func(events.Event) error) error {
		if r.Part == "unknown" {
			return &control.Error{Code: http.StatusNotFound, Message: "no such part"}
		}
		for _, m := range []string{"lease", "phone fetched its file"} {
			if err := emit(events.Event{Message: m, Part: r.Part}); err != nil {
				return err
			}
		}
		if r.Part == "broken" {
			return errors.New("disk full")
		}
		if r.Follow {
			<-ctx.Done()
		}
		return nil
	}))
	var got []string
	collect := func(e events.Event) error { got = append(got, e.Part+": "+e.Message); return nil }
	if err := control.CallStream(t.Context(), c, control.ReadLogs, control.LogsRequest{Part: "dhcp"}, collect); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"dhcp: lease", "dhcp: phone fetched its file"}, got); d != "" {
		t.Errorf("items differ (-want +got):\n%s", d)
	}
	// One that follows gets items as they come, and ends when it has enough.
	enough := errors.New("enough")
	n := 0
	err := control.CallStream(t.Context(), c, control.ReadLogs, control.LogsRequest{Follow: true}, func(events.Event) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("after %d items: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := control.CallStream(ctx, c, control.ReadLogs, control.LogsRequest{Follow: true}, func(events.Event) error { cancel(); return nil }); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if err := control.CallStream(t.Context(), c, control.ReadLogs, control.LogsRequest{Part: "unknown"}, collect); err == nil || err.Error() != "no such part" {
		t.Errorf("an error before the first item: %v", err)
	}
	// A stream that fails half-way does not look like a whole one.
	if err := control.CallStream(t.Context(), c, control.ReadLogs, control.LogsRequest{Part: "broken"}, collect); err == nil {
		t.Error("a broken stream ends without an error")
	}
}

func TestTextStream(t *testing.T) {
	c := controltest.Client(t, control.HandleText(control.ReadStackLogs, func(_ context.Context, o control.StackLogOptions, w io.Writer) error {
		if o.Stack == "unknown" {
			return &control.Error{Code: http.StatusNotFound, Message: "no such stack"}
		}
		fmt.Fprintf(w, "%s %s %d %t\n", o.Stack, o.Service, o.Lines, o.Follow)
		if o.Stack == "broken" {
			return errors.New("docker went away")
		}
		return nil
	}))
	var text bytes.Buffer
	o := control.StackLogOptions{Stack: "jitsi", Service: "web", Lines: 7, Follow: true}
	if err := control.CallText(t.Context(), c, control.ReadStackLogs, o, &text); err != nil || text.String() != "jitsi web 7 true\n" {
		t.Errorf("got %q, %v", text.String(), err)
	}
	if err := control.CallText(t.Context(), c, control.ReadStackLogs, control.StackLogOptions{Stack: "unknown"}, &text); err == nil || err.Error() != "no such stack" {
		t.Errorf("got %v", err)
	}
	if err := control.CallText(t.Context(), c, control.ReadStackLogs, control.StackLogOptions{Stack: "broken"}, &text); err == nil {
		t.Error("a broken stream ends without an error")
	}
}

func TestSecondDaemonIsRefusedAndDeadOneReplaced(t *testing.T) {
	none := func() []control.Handler { return nil }
	dir := controltest.Serve(t)
	err := control.NewServer(dir, control.NewDispatcher(none, slog.New(slog.DiscardHandler), nil)).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another sae-agent") {
		t.Errorf("second daemon: %v", err)
	}

	dead := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dead, control.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- control.NewServer(dead, control.NewDispatcher(none, slog.New(slog.DiscardHandler), nil)).Run(ctx)
	}()
	controltest.Wait(t, dead)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNoDaemonIsExplained(t *testing.T) {
	_, err := control.Call(t.Context(), control.NewClient(t.TempDir()), control.GetStatus, control.None{})
	if !errors.Is(err, control.ErrNoDaemon) || !strings.Contains(err.Error(), "systemctl start sae-agent") {
		t.Errorf("error = %v", err)
	}
}
