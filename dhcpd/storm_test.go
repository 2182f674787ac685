package dhcpd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Ten thousand clients that do not exist take what they can; a configured phone
// that comes last has an address all the same.
func TestStarvationDoesNotStopAPhone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cfg := seedConfig()
	phone := hw("00:15:65:aa:bb:cc")
	cfg.Known = []net.HardwareAddr{phone}
	s.serve(cfg, dhcpd.Options{})
	c := s.client("attacker", "")
	c.Addr("eth0", "192.168.1.2/24")
	r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
	for n := 0; n < 10000; n += 500 {
		r.boot(n, 500, 500)
		if s.server.Status().PoolUsed == s.server.Status().PoolSize-1 && n > 1000 {
			break
		}
	}
	if st := s.server.Status(); st.PoolUsed < st.PoolSize-1 {
		t.Fatalf("the attack did not work: %+v", st)
	}
	got := r.ask(phone, dhcpv4.MessageTypeDiscover)
	if got == nil || got.MessageType() != dhcpv4.MessageTypeOffer {
		t.Fatalf("the phone got %v", got)
	}
	if got := r.ask(clientMAC(99999), dhcpv4.MessageTypeDiscover); got != nil {
		t.Errorf("a stranger got the phone's address: %v", got.Summary())
	}
	labtest.Eventually(t, s.saw(dhcpd.EventFull))
}

// brokenStore is a store on a full disk.
type brokenStore struct {
	dhcpd.Store
	broken atomic.Bool
}

func (b *brokenStore) Commit(ctx context.Context, changes []dhcpd.Lease) error {
	if b.broken.Load() {
		return errors.New("no space left on device")
	}
	return b.Store.Commit(ctx, changes)
}

type memoryStore struct{}

func (memoryStore) Load(context.Context) ([]dhcpd.Lease, error) { return nil, nil }
func (memoryStore) Commit(context.Context, []dhcpd.Lease) error { return nil }

// What is not on disk is not acknowledged, and what was acknowledged stays.
func TestNoAckWithoutDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := &brokenStore{Store: memoryStore{}}
	s.store = store
	s.serve(seedConfig(), dhcpd.Options{})
	c := s.client("relay", "")
	c.Addr("eth0", "192.168.1.2/24")
	r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
	if r.boot(1, 1, 1) != 1 {
		t.Fatal("no lease before the disk is full")
	}
	held, _ := s.lease(clientMAC(1))

	store.broken.Store(true)
	if r.boot(2, 1, 1) != 0 {
		t.Error("an ACK without the disk")
	}
	if _, bound := s.lease(clientMAC(2)); bound {
		t.Error("a lease that is not on disk counts as bound")
	}
	if err := r.confirm(held.Addr, clientMAC(1)); err == nil {
		t.Error("a renewal was acknowledged without the disk")
	}
	if now, bound := s.lease(clientMAC(1)); !bound || now.Expires.Sub(held.Expires).Abs() > 100*time.Millisecond {
		t.Errorf("the old lease became %+v", now)
	}
	store.broken.Store(false)
	if r.boot(2, 1, 1) != 1 {
		t.Error("no lease after the disk has room again")
	}
}

// Kea's own load generator finds nothing to complain about.
func TestPerfdhcpCompletesEveryExchange(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	c := s.client("load", "")
	c.Addr("eth0", "192.168.1.2/24")
	out := c.Run("perfdhcp", "-4", "-r", "50", "-R", "90", "-n", "90", "-W", "2000000", "-l", "eth0")
	if !strings.Contains(out, "REQUEST-ACK") || strings.Count(out, "drops: 0\n") != 2 {
		t.Errorf("not every exchange was completed:\n%s", out)
	}
}

func TestMalformedMessagesAreCounted(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	c := s.client("attacker", "")
	c.Addr("eth0", "192.168.1.2/24")
	r := newRelay(t, c, "192.168.1.2", "192.168.1.1")
	for _, garbage := range [][]byte{{}, {1}, make([]byte, 240), make([]byte, 1400)} {
		if _, err := r.conn.WriteToUDP(garbage, r.to); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Eventually(t, func() error {
		err := testutil.CollectAndCompare(s.server, strings.NewReader(`
# HELP sae_dhcp_dropped_total Messages without a reply, by the reason for it.
# TYPE sae_dhcp_dropped_total counter
sae_dhcp_dropped_total{reason="malformed"} 4
sae_dhcp_dropped_total{reason="not_for_us"} 0
sae_dhcp_dropped_total{reason="not_its_own"} 0
sae_dhcp_dropped_total{reason="overload"} 0
sae_dhcp_dropped_total{reason="pool_full"} 0
sae_dhcp_dropped_total{reason="rate"} 0
sae_dhcp_dropped_total{reason="relay"} 0
sae_dhcp_dropped_total{reason="rival"} 0
sae_dhcp_dropped_total{reason="store"} 0
sae_dhcp_dropped_total{reason="unknown_client"} 0
sae_dhcp_dropped_total{reason="unsupported"} 0
`), "sae_dhcp_dropped_total")
		if err != nil {
			return fmt.Errorf("after garbage: %w", err)
		}
		return nil
	})
	if r.boot(1, 1, 1) != 1 {
		t.Error("no lease after garbage")
	}
}
