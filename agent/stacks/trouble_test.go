package stacks

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// What goes wrong is said, with its fix, and mends itself once the cause is gone.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t)
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
