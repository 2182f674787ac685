package dhcpd

import (
	"net/netip"
	"testing"
	"time"
)

// While nobody waits one probe leaves at a time, ten a second; every address is asked
// for once, and what is kept ready was never asked for longer ago than it counts.
func TestStockWhileNobodyComes(t *testing.T) {
	cfg := tinyConfig()
	cfg.RangeFirst, cfg.RangeLast = netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("192.168.1.209")
	table := newTestTable(t, cfg)
	asked := make(map[netip.Addr]bool)
	now := epoch
	for i := range 6000 { // ten minutes
		now = now.Add(sweepEvery)
		ask := table.stock.sweep(now, table.pools[0], 0)
		if len(ask) > 1 {
			t.Fatalf("sweep %d sent %d probes", i, len(ask))
		}
		for _, a := range ask {
			asked[a] = true
		}
		if ready := table.pools[0].ready.count; i >= quietStock+1 && ready < quietStock {
			t.Fatalf("%d addresses are ready after %d sweeps", ready, i)
		}
		for n := uint32(table.pools[0].net.first); n <= table.pools[0].net.last; n++ {
			if table.pools[0].ready.has(n) && now.Sub(table.stock.at[n]) > cleanFor {
				t.Fatalf("%v was looked for %v ago", toAddr(n), now.Sub(table.stock.at[n]))
			}
		}
	}
	if len(asked) != 199 { // less the reservation
		t.Errorf("%d of 199 addresses were asked for", len(asked))
	}
}

// The stock grows with those that come.
func TestStockFollowsDemand(t *testing.T) {
	cfg := tinyConfig()
	cfg.Subnet = netip.MustParsePrefix("192.168.0.0/16")
	cfg.RangeFirst, cfg.RangeLast = netip.MustParseAddr("192.168.16.1"), netip.MustParseAddr("192.168.64.0")
	table := newTestTable(t, cfg)
	now, waited := epoch, 0
	for i := range 100 { // two seconds, 5,000 clients a second
		now = now.Add(busyEvery)
		for n := range 100 {
			stranger := mac{2, 0, 0, 0, byte(i), byte(n)}
			if d := table.handle(now, false, message(t, stranger, discover)); i >= 50 && !d.sure {
				waited++
			}
		}
		table.stock.sweep(now, table.pools[0], 1)
	}
	if waited > 0 {
		t.Errorf("%d of the last 5,000 clients waited for ARP", waited)
	}
}

// An address that was offered was looked for within two minutes, or ours to give
// all the time.
func TestAddressIsLookedForBeforeItIsGivenAgain(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		q     query
		sure  bool
	}{
		"the lease runs":               {time.Minute, message(t, carol, discover), true},
		"it has just ended":            {11 * time.Minute, message(t, carol, discover), true},
		"it ended long ago":            {time.Hour, message(t, carol, discover), false},
		"INIT-REBOOT after that":       {time.Hour, message(t, carol, request, want("192.168.1.10")), false},
		"RENEWING after that":          {time.Hour, message(t, carol, request, has("192.168.1.10")), false},
		"INIT-REBOOT while it is ours": {time.Minute, message(t, carol, request, want("192.168.1.10")), true},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTestTable(t, tinyConfig())
			play(t, table, carolGets)
			table.expire(epoch.Add(min(c.after, 10*time.Minute+time.Second)), func(Lease) {})
			d := table.handle(epoch.Add(c.after), false, c.q)
			if sure := !d.probe.IsValid() || d.sure; sure != c.sure {
				t.Errorf("sure: %t", sure)
			}
			if c.q.kind == request && !c.sure && d.reply != nil {
				t.Error("acknowledged before ARP was asked")
			}
		})
	}
}
