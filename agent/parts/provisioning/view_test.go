package provisioning

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/phones"
)

func TestTrouble(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	here := netip.MustParseAddr("192.168.1.20")
	phone := phones.Status{Extension: "100", Addr: here, LastFetch: now}
	refusedFrom := func(addr string, at time.Time) map[string]pbx.SecurityEvent {
		return map[string]pbx.SecurityEvent{"100": {Kind: pbx.WrongSecret, Account: "100", Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 5060), Time: at}}
	}
	well := func(change func(*pbx.State)) pbx.State {
		st := pbx.State{Health: pbx.Health{State: pbx.Well}, Observed: now, Lines: map[string]pbx.Line{"100": {}}}
		change(&st)
		return st
	}
	for _, tt := range []struct {
		want   string
		st     pbx.State
		slowed bool
		lost   bool
	}{
		{"there is no exchange yet", well(func(st *pbx.State) { st.Outcome.Err = fmt.Errorf("x: %w", pbx.ErrAbsent) }), false, false},
		{"the exchange is not well: no process", well(func(st *pbx.State) { st.Health = pbx.Health{State: pbx.Dead, Why: "no process"} }), false, false},
		{"the exchange has no extension 100 yet", well(func(st *pbx.State) { st.Lines = nil }), false, false},
		{"the exchange refuses its password", well(func(st *pbx.State) { st.Refused = refusedFrom("192.168.1.20", now.Add(time.Second)) }), false, false},
		{"so often that it is slowed down", well(func(st *pbx.State) { st.Refused = refusedFrom("192.168.1.20", now.Add(time.Second)) }), true, false},
		// What was refused before it fetched its file, or from elsewhere, is another matter.
		{"has not tried to register", well(func(st *pbx.State) { st.Refused = refusedFrom("192.168.1.20", now.Add(-time.Second)) }), false, false},
		{"has not tried to register", well(func(st *pbx.State) { st.Refused = refusedFrom("198.51.100.7", now.Add(time.Second)) }), false, false},
		{"registered from 192.168.1.30 instead", well(func(st *pbx.State) {
			st.Lines["100"] = pbx.Line{Registrations: []pbx.Registration{{Remote: netip.MustParseAddrPort("192.168.1.30:5060")}}}
		}), false, false},
		{"does not answer on the network", well(func(*pbx.State) {}), false, true},
	} {
		w := knowledge{
			exchange: tt.st, slowed: func(netip.Addr) bool { return tt.slowed }, lost: func() map[netip.Addr]bool { return map[netip.Addr]bool{here: tt.lost} },
		}
		if got := w.trouble(phone); !strings.Contains(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
