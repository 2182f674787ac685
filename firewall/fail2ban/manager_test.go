package fail2ban

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A server that starts with the machine is not missed at once, and one that does not come is.
func TestServerThatStarts(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "jail.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jail.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m, err := New(office(), Options{Dir: dir, Run: func(context.Context, ...string) (string, error) { return "", errors.New("no socket") }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		for _, c := range []struct {
			at     time.Duration
			missed bool
		}{{time.Second, false}, {startTime, false}, {30 * time.Second, true}} {
			time.Sleep(c.at)
			synctest.Wait()
			if st := m.Status(); !st.Installed || st.Up || (st.Problem != "") != c.missed || (st.Fix != "") != c.missed {
				t.Errorf("after %v more: %+v", c.at, st)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
