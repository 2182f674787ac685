package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Who is known is in the kernel in the end, although it could not be loaded at first.
func TestKnownAfterFailedLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.path = t.TempDir()
	broken := filepath.Join(s.path, "broken")
	script := "#!/bin/sh\n[ -e " + broken + " ] && exit 1\nPATH=" + os.Getenv("PATH") + "\nexec nft \"$@\"\n"
	if err := os.WriteFile(filepath.Join(s.path, "nft"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s.path += ":" + os.Getenv("PATH")
	s.start(labConfig())
	phones := []netip.Addr{addr(attackerAddr)}
	known := func() bool {
		return slices.Contains(s.must(order{Op: "sets", Addrs: phones}).Sets, setKnown)
	}
	fail := func(yes bool) {
		t.Helper()
		err := os.Remove(broken)
		if yes {
			err = os.WriteFile(broken, nil, 0o644)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}

	fail(true)
	if a := s.tell(order{Op: "known", Addrs: phones}); a.Error == "" {
		t.Fatal("nft fails, and nothing is said of it")
	}
	fail(false)
	s.must(order{Op: "known", Addrs: phones})
	if !known() {
		t.Error("told the same again, the manager believes that the kernel has it")
	}

	fail(true)
	if a := s.tell(order{Op: "known"}); a.Error == "" {
		t.Fatal("nft fails, and nothing is said of it")
	}
	fail(false)
	labtest.Eventually(t, func() error {
		if known() {
			return fmt.Errorf("%v is still known", phones)
		}
		return nil
	})
}
