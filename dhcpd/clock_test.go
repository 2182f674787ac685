package dhcpd_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// recordStore remembers what was stored.
type recordStore struct {
	mu     sync.Mutex
	leases map[string]dhcpd.Lease
}

func (r *recordStore) Load(context.Context) (out []dhcpd.Lease, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.leases {
		out = append(out, l)
	}
	return out, nil
}

func (r *recordStore) Commit(_ context.Context, changes []dhcpd.Lease) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range changes {
		r.leases[l.Addr.String()] = l
	}
	return nil
}

// Somebody sets the clock by years, either way: a lease neither ends nor lasts
// longer, while the server runs and after it starts again.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": 3 * 365 * 24 * time.Hour, "back": -50 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ahead atomic.Int64
			wall := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			s := newSite(t)
			store := &recordStore{leases: make(map[string]dhcpd.Lease)}
			s.store = store
			s.serve(seedConfig(), dhcpd.Options{Wall: wall})
			c := s.client("relay", "")
			c.Addr("eth0", "192.168.1.2/24")
			r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
			if r.boot(1, 1, 1) != 1 {
				t.Fatal("no lease")
			}
			held, _ := s.lease(clientMAC(1))

			ahead.Store(int64(jump))
			labtest.Eventually(t, func() error { // stored anew, with the new time
				stored, _ := store.Load(t.Context())
				if i := slices.IndexFunc(stored, func(l dhcpd.Lease) bool { return l.Addr == held.Addr }); i < 0 || stored[i].Expires.Sub(held.Expires.Add(jump)).Abs() > time.Minute {
					return fmt.Errorf("stored: %+v", stored)
				}
				return nil
			})
			if l, ok := s.server.Lookup(held.Addr); !ok || l.Expires.Sub(wall()) > 12*time.Hour+time.Minute {
				t.Errorf("after the jump: %t %+v", ok, l)
			}
			s.stop()
			s.serve(seedConfig(), dhcpd.Options{Wall: wall})
			if l, ok := s.server.Lookup(held.Addr); !ok || l.Expires.Sub(wall()) > 12*time.Hour+time.Minute {
				t.Errorf("after a restart: %t %+v", ok, l)
			}
			ahead.Store(0) // and set right again before the next start
			s.stop()
			s.serve(seedConfig(), dhcpd.Options{Wall: wall})
			if l, ok := s.server.Lookup(held.Addr); ok && l.Expires.Sub(wall()) > 12*time.Hour+time.Minute {
				t.Errorf("a lease that lasts for ever: %+v", l)
			}
		})
	}
}
