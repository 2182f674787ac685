package stacks

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// What goes wrong is said, with its fix, and mends itself once the cause is gone.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.maxDelay = 0 // as on an appliance
	var taken net.Listener
	s.Host.Do(func() (err error) { taken, err = net.Listen("tcp", "192.168.1.1:7443"); return err })
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{nextcloudConfig()}
	s.start(cfg)

	p := s.untilProblem("nextcloud", DiskFull)
	if !strings.Contains(p.What, "67 MB free") || !strings.Contains(p.What, "536 MB are needed") {
		t.Errorf("disk full: %s", p.What)
	}
	s.stop()
	if err := unix.Unmount(s.dir, 0); err != nil {
		t.Fatal(err)
	}
	s.start(cfg)
	if p := s.untilProblem("nextcloud", ImageMissing); !strings.Contains(p.What, "library/caddy:2.10.2 does not exist in the registry") {
		t.Errorf("image missing: %s", p.What)
	}
	_ = s.registry.Kill()
	s.untilProblem("nextcloud", RegistryDown)
	s.registry = s.Registry()
	s.pushCloud()
	if err := s.service.Up(t.Context(), "nextcloud"); err == nil {
		t.Error("it is up although its port is taken")
	}
	if p := s.untilProblem("nextcloud", PortTaken); !strings.Contains(p.What, "7443") || !strings.Contains(p.Fix, "ss -lntup") {
		t.Errorf("port taken: %+v", p)
	}
	_ = taken.Close()
	if err := s.service.Up(t.Context(), "nextcloud"); err != nil { // at once, not when the pause is over
		t.Error(err)
	}
}

func TestLeftAloneLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{}, Options{Names: names(), Dir: t.TempDir(), MaxDelay: 15 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		var got []time.Duration
		for range 4 {
			s.stacks["jitsi"].failed(problem(Failed, "", "it does not work"))
			got = append(got, time.Until(s.stacks["jitsi"].current().NextTry))
		}
		if want := []time.Duration{5 * time.Second, 10 * time.Second, 15 * time.Second, 15 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("left alone for %v, want %v", got, want)
		}
	})
}

// A change of the configuration may be what was needed: it is tried at once, whatever
// is left of the time after a failure.
func TestNewConfigurationIsTriedAtOnce(t *testing.T) {
	cfg := labConfig(t)
	cfg.Kinds = []kind.Kind{jitsiConfig()}
	s, err := New(cfg, Options{Names: names(), Dir: t.TempDir(), Socket: filepath.Join(t.TempDir(), "d.sock"), Runner: fakeRunner{"": runner.Result{}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	st := s.stacks["jitsi"]
	_ = st.reconcile(t.Context(), true) // there is no Docker
	for range 10 {
		st.failed(problem(PortTaken, "", "the port is taken"))
	}
	look := func() Code {
		_ = st.reconcile(t.Context(), false)
		return st.current().Problem.Code
	}
	if got := look(); got != PortTaken {
		t.Errorf("it was tried again before its time: %s", got)
	}
	s.Apply(cfg)
	if got := look(); got == PortTaken {
		t.Error("with a new configuration it was not tried")
	}
}
