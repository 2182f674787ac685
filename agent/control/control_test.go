package control

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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers with what the test put in and remembers what it was told.
type fake struct {
	released chan string
	plan     Plan
	err      error
	approved map[string]Approval
}

func (f *fake) Status(context.Context) (Status, error) { return Status{Site: "sae303"}, f.err }
func (f *fake) Plan(context.Context) (Plan, error)     { return f.plan, f.err }
func (f *fake) Apply(_ context.Context, o ApplyOptions) (Plan, error) {
	p := f.plan
	if o.Confirm > 0 {
		p.Until = time.Unix(0, 0).Add(o.Confirm).UTC()
	}
	return p, f.err
}
func (f *fake) Confirm(context.Context) error                           { return f.err }
func (f *fake) Rollback(context.Context, RollbackOptions) (Plan, error) { return f.plan, f.err }
func (f *fake) History(context.Context) ([]Applied, error)              { return []Applied{{Number: 7}}, f.err }
func (f *fake) Leases(context.Context) ([]Lease, error) {
	return []Lease{{Address: "192.168.1.10", MAC: "00:15:65:12:34:56", State: "bound"}}, f.err
}
func (f *fake) Phones(context.Context) ([]Phone, error) { return nil, f.err }
func (f *fake) Phone(_ context.Context, mac string) (Phone, error) {
	return Phone{MAC: mac}, f.err
}
func (f *fake) ApprovePhone(_ context.Context, mac string, a Approval) error {
	f.approved[mac] = a
	return f.err
}
func (f *fake) ForgetPhone(context.Context, string) error { return f.err }
func (f *fake) RearmPhone(context.Context, string) error  { return f.err }
func (f *fake) SoftphoneLink(_ context.Context, ext string) (Link, error) {
	return Link{URL: "http://192.168.1.1:9303/linphone/" + ext}, f.err
}

func (f *fake) Verify(context.Context) (Verification, error) {
	return Verification{Passed: true, Checks: []Checked{{Check: "call", What: "one calls the other", Outcome: Passed}}}, f.err
}

func (f *fake) BackupPlan(context.Context) (BackupPlan, error) {
	return BackupPlan{Site: "sae303"}, f.err
}

func (f *fake) Hold(_ context.Context, part string) (Held, func(), error) {
	if f.err != nil {
		return Held{}, nil, f.err
	}
	return Held{Path: "/run/" + part}, func() { f.released <- part }, nil
}

// What stands still goes on when it is released, and when the command just dies.
func TestHold(t *testing.T) {
	b := &fake{released: make(chan string)}
	c := start(t, t.TempDir(), b, slog.New(slog.DiscardHandler))
	h, release, err := c.Hold(t.Context(), "stack/nextcloud")
	if err != nil || h.Path != "/run/stack/nextcloud" {
		t.Fatalf("held %+v, %v", h, err)
	}
	select {
	case <-b.released:
		t.Fatal("it was let go at once")
	default:
	}
	release()
	if part := <-b.released; part != "stack/nextcloud" {
		t.Errorf("released %q", part)
	}
	ctx, die := context.WithCancel(t.Context())
	if _, _, err := c.Hold(ctx, "leases"); err != nil {
		t.Fatal(err)
	}
	die()
	if part := <-b.released; part != "leases" {
		t.Errorf("released %q", part)
	}
	b.err = &Error{Code: http.StatusConflict, Message: "an update is under way"}
	if _, _, err := c.Hold(t.Context(), "leases"); err == nil || err.Error() != "an update is under way" {
		t.Errorf("got %v", err)
	}
}

// start runs a server in dir until the test ends.
func start(t *testing.T, dir string, b Backend, log *slog.Logger) *Client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(dir, b, log).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(dir, SocketName)); err == nil {
			c.Close()
			return NewClient(dir)
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
}

func TestQuestionsAndOrders(t *testing.T) {
	var log bytes.Buffer
	want := Plan{Config: []Change{{Path: "dhcp.lease_time", Old: "12h", New: "1h"}}, Machine: []string{"add 192.168.1.1/24 to ens34"}}
	b := &fake{plan: want, approved: make(map[string]Approval)}
	dir := t.TempDir()
	c := start(t, dir, b, slog.New(slog.NewTextHandler(&log, nil)))
	ctx := t.Context()

	if st, err := c.Status(ctx); err != nil || st.Site != "sae303" {
		t.Errorf("Status() = %+v, %v", st, err)
	}
	if l, err := c.Leases(ctx); err != nil || len(l) != 1 || l[0].MAC != "00:15:65:12:34:56" {
		t.Errorf("Leases() = %+v, %v", l, err)
	}
	if p, err := c.Phone(ctx, "00:15:65:12:34:56"); err != nil || p.MAC != "00:15:65:12:34:56" {
		t.Errorf("Phone() = %+v, %v", p, err)
	}
	got, err := c.Apply(ctx, ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Apply() differs (-want +got):\n%s", d)
	}
	if err := c.ApprovePhone(ctx, "00:15:65:12:34:56", Approval{Extension: "102"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]Approval{"00:15:65:12:34:56": {Extension: "102"}}, b.approved); d != "" {
		t.Errorf("approvals differ (-want +got):\n%s", d)
	}
	if l, err := c.SoftphoneLink(ctx, "100"); err != nil || l.URL != "http://192.168.1.1:9303/linphone/100" {
		t.Errorf("SoftphoneLink() = %+v, %v", l, err)
	}
	if v, err := c.Verify(ctx); err != nil || !v.Passed || len(v.Checks) != 1 || v.Checks[0].Outcome != Passed {
		t.Errorf("Verify() = %+v, %v", v, err)
	}

	if fi, err := os.Stat(filepath.Join(dir, SocketName)); err != nil || fi.Mode().Perm()&0o007 != 0 {
		t.Errorf("socket mode %v, %v: others may not open it", fi.Mode(), err)
	}
	for _, want := range []string{`order=apply`, `order="approve phone"`, fmt.Sprintf("uid=%d", os.Getuid()), "mac=00:15:65:12:34:56"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "leases") {
		t.Errorf("a question was logged as an order:\n%s", log.String())
	}
}

func TestErrorsReachTheOperator(t *testing.T) {
	bad := &Error{Code: http.StatusUnprocessableEntity, Message: "config.yaml has 2 errors", Details: []string{"config.yaml:3:5: …", "config.yaml:9:1: …"}}
	b := &fake{err: fmt.Errorf("apply: %w", bad)}
	c := start(t, t.TempDir(), b, slog.New(slog.DiscardHandler))
	_, err := c.Apply(t.Context(), ApplyOptions{})
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("Apply() error is %T: %v", err, err)
	}
	if d := cmp.Diff(bad, got); d != "" {
		t.Errorf("error differs (-want +got):\n%s", d)
	}

	b.err = errors.New("disk full")
	if _, err := c.Plan(t.Context()); err == nil || err.Error() != "disk full" {
		t.Errorf("Plan() error = %v", err)
	}
}

func TestSecondDaemonIsRefusedAndDeadOneReplaced(t *testing.T) {
	dir := t.TempDir()
	b := &fake{}
	start(t, dir, b, slog.New(slog.DiscardHandler))
	err := NewServer(dir, b, slog.New(slog.DiscardHandler)).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another sae-agent") {
		t.Errorf("second daemon: %v", err)
	}

	dead := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dead, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	start(t, dead, b, slog.New(slog.DiscardHandler))
}

func TestNoDaemonIsExplained(t *testing.T) {
	_, err := NewClient(t.TempDir()).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sae-agent does not run") {
		t.Errorf("error = %v", err)
	}
}

func (f *fake) Stacks(context.Context) ([]Stack, error) {
	return []Stack{{Name: "jitsi", State: "healthy"}}, f.err
}
func (f *fake) StackUp(context.Context, string) error   { return f.err }
func (f *fake) StackDown(context.Context, string) error { return f.err }
func (f *fake) StackUpdate(_ context.Context, name string, o StackUpdateOptions) (StackUpdate, error) {
	return StackUpdate{Stack: name, Outcome: fmt.Sprintf("updated %t", o.Major)}, f.err
}
func (f *fake) StackHistory(context.Context) ([]StackUpdate, error) {
	return []StackUpdate{{Stack: "jitsi", Outcome: "updated"}}, f.err
}
func (f *fake) StackLogins(context.Context, string) (StackLogins, error) {
	return StackLogins{URL: "https://192.168.1.1:7443"}, f.err
}
func (f *fake) StackLogs(_ context.Context, w io.Writer, name string, o StackLogOptions) error {
	if f.err == nil {
		fmt.Fprintf(w, "%s %s %d %t\n", name, o.Service, o.Lines, o.Follow)
	}
	return f.err
}

func TestStacks(t *testing.T) {
	var log bytes.Buffer
	b := &fake{}
	c := start(t, t.TempDir(), b, slog.New(slog.NewTextHandler(&log, nil)))
	ctx := t.Context()
	if all, err := c.Stacks(ctx); err != nil || len(all) != 1 || all[0].State != "healthy" {
		t.Errorf("Stacks() = %+v, %v", all, err)
	}
	if err := errors.Join(c.StackUp(ctx, "jitsi"), c.StackDown(ctx, "jitsi")); err != nil {
		t.Error(err)
	}
	if u, err := c.StackUpdate(ctx, "nextcloud", StackUpdateOptions{Major: true}); err != nil || u.Outcome != "updated true" || u.Stack != "nextcloud" {
		t.Errorf("StackUpdate() = %+v, %v", u, err)
	}
	if h, err := c.StackHistory(ctx); err != nil || len(h) != 1 {
		t.Errorf("StackHistory() = %+v, %v", h, err)
	}
	if l, err := c.StackLogins(ctx, "nextcloud"); err != nil || l.URL == "" {
		t.Errorf("StackLogins() = %+v, %v", l, err)
	}
	var lines bytes.Buffer
	if err := c.StackLogs(ctx, &lines, "jitsi", StackLogOptions{Service: "web", Lines: 7, Follow: true}); err != nil || lines.String() != "jitsi web 7 true\n" {
		t.Errorf("StackLogs() = %q, %v", lines.String(), err)
	}
	for _, order := range []string{"stack up", "stack down", "stack update", "show first passwords"} {
		if !strings.Contains(log.String(), order) {
			t.Errorf("the log lacks the order %q", order)
		}
	}
	b.err = &Error{Code: http.StatusNotFound, Message: "no such stack"}
	if err := c.StackLogs(ctx, &lines, "x", StackLogOptions{}); err == nil || err.Error() != "no such stack" {
		t.Errorf("StackLogs() of no stack: %v", err)
	}
}
