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
	table := newTestTable(t, largeConfig())
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

// largeConfig is a pool of 12,000 addresses.
func largeConfig() Config {
	cfg := tinyConfig()
	cfg.Subnet = netip.MustParsePrefix("192.168.0.0/16")
	cfg.RangeFirst, cfg.RangeLast = netip.MustParseAddr("192.168.16.1"), netip.MustParseAddr("192.168.64.0")
	return cfg
}

// Probes are as many as newcomers need: a few newcomers are no reason to look for a
// whole pool at once, and a crowd is one for no more than the crowd.
func TestProbesFollowDemand(t *testing.T) {
	for name, c := range map[string]struct{ perSecond, seconds, limit int }{
		"one now and then": {2, 60, 10 * 60},
		"a thousand":       {1000, 2, 2*1000 + 1000},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTestTable(t, largeConfig())
			now, next, due, probes, came := epoch, epoch, 0.0, 0, 0
			warm := epoch.Add(20 * time.Second) // a stock is there
			for now.Before(warm.Add(time.Duration(c.seconds) * time.Second)) {
				now = now.Add(busyEvery)
				if now.After(warm) {
					for due += float64(c.perSecond) * busyEvery.Seconds(); due >= 1; due-- {
						came++
						table.handle(now, false, message(t, mac{2, 0, 0, 0, byte(came >> 8), byte(came)}, discover))
					}
				}
				if now.Before(next) {
					continue
				}
				asked := len(table.stock.sweep(now, table.pools[0], 0))
				if now.After(warm) {
					probes += asked
				}
				next = now.Add(sweepEvery)
				if table.stock.busy(table.pools[0], 0) {
					next = now.Add(busyEvery)
				}
			}
			if probes > c.limit {
				t.Errorf("%d probes for %d newcomers in %d seconds", probes, came, c.seconds)
			}
		})
	}
}

// Phones that ask while the server still searches for others find their addresses ready.
func TestStockGrowsBeforeTheServerMayAnswer(t *testing.T) {
	s, err := New(largeConfig(), nullStore{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.starting = true
	now := epoch
	for round := range 20 { // 500 phones that repeat themselves every second
		now = now.Add(sweepEvery)
		if round%10 == 0 {
			for n := range 500 {
				s.decide(nil, now, message(t, mac{2, 0, 0, 0, byte(n >> 8), byte(n)}, discover))
			}
		}
		s.table.stock.sweep(now, s.table.pools[0], 0)
	}
	if ready := s.table.pools[0].ready.count; ready < 500 {
		t.Errorf("%d addresses are ready for 500 phones", ready)
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
