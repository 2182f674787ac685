package dhcpd

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	ownID   = netip.MustParseAddr("192.168.1.1")
	otherID = netip.MustParseAddr("192.168.1.9")
	peerID  = netip.MustParseAddr("192.168.1.2")
)

// Only an answer to our own search proves that there is another server.
func TestWhatAnAnswerMeans(t *testing.T) {
	offered := netip.MustParseAddr("192.168.1.99")
	offer := answer{serverID: otherID, yiaddr: offered, kind: dhcpv4.MessageTypeOffer, toSearch: true}
	for name, c := range map[string]struct {
		change func(*answer)
		want   meaning
	}{
		"an offer to our search":                    {func(*answer) {}, meansRival},
		"relayed to us":                             {func(a *answer) { a.relayed = true }, meansRival},
		"of a peer":                                 {func(a *answer) { a.serverID = peerID }, meansNothing},
		"our own, relayed":                          {func(a *answer) { a.serverID, a.relayed = ownID, true }, meansNothing},
		"our own, from a copy of this machine":      {func(a *answer) { a.serverID = ownID }, meansRival},
		"proxyDHCP":                                 {func(a *answer) { a.yiaddr = netip.Addr{} }, meansNothing},
		"a NAK to our search":                       {func(a *answer) { a.kind = dhcpv4.MessageTypeNak }, meansNothing},
		"an offer to somebody else":                 {func(a *answer) { a.toSearch = false }, meansSearch},
		"our own offer to somebody, seen elsewhere": {func(a *answer) { a.serverID, a.toSearch = ownID, false }, meansNothing},
		"an ACK to somebody else":                   {func(a *answer) { a.kind, a.toSearch = dhcpv4.MessageTypeAck, false }, meansSearch},
		"a NAK to somebody else": {func(a *answer) {
			a.kind, a.toSearch, a.yiaddr = dhcpv4.MessageTypeNak, false, netip.Addr{}
		}, meansSearch},
		"an ACK to an INFORM": {func(a *answer) {
			a.kind, a.toSearch, a.yiaddr = dhcpv4.MessageTypeAck, false, netip.Addr{}
		}, meansNothing},
		"a peer's offer to somebody": {func(a *answer) { a.serverID, a.toSearch = peerID, false }, meansNothing},
	} {
		t.Run(name, func(t *testing.T) {
			a := offer
			c.change(&a)
			if got := a.judge(ownID, []netip.Addr{peerID}); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// What was overheard has others searched for at once, and not more than once a minute however much is overheard.
func TestHintsAreLimited(t *testing.T) {
	now := time.Unix(1e9, 0)
	var searched int
	var last time.Time
	next := func(due time.Time) time.Time { return due.Add(aloneEvery) }
	for due := next(now); now.Before(time.Unix(1e9+600, 0)); now = now.Add(time.Second / 10) {
		due, last = afterHint(now, due, last)
		if searched == 0 && due.After(now) {
			t.Fatal("the first hint does not start a search at once")
		}
		if !due.After(now) {
			searched++
			due = next(now)
		}
	}
	if searched != 10 {
		t.Errorf("%d searches in ten minutes of hints, want one a minute", searched)
	}
	if due, _ := afterHint(now, now.Add(time.Second), now); !due.Equal(now.Add(time.Second)) {
		t.Errorf("a hint puts a search off to %v", due)
	}
}

// A rival is shown with the port where the network saw its machine as a client (option 82).
func TestRivalIsShownWithItsPort(t *testing.T) {
	s, err := New(tinyConfig(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.notePort(message(t, dave, discover, dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 2, 0, 7})))
	for _, m := range []mac{dave, carol} {
		s.rivalAnswered(answer{serverID: netip.AddrFrom4([4]byte{192, 168, 1, m[5]}), from: m.hw()})
	}
	var got []string
	for _, r := range s.Status().Rivals {
		got = append(got, r.String())
	}
	want := []string{"192.168.1.3 (02:00:00:00:00:03)", "192.168.1.4 (02:00:00:00:00:04, at port 01020007)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Having served a LAN counts for the same machine, card and network, for one lease time.
func TestWhatCountsAsServed(t *testing.T) {
	now := Served{Machine: "m1", Card: alice.hw(), Subnet: netip.MustParsePrefix("192.168.1.0/24"), Last: time.Unix(1e9, 0)}
	for name, c := range map[string]struct {
		change func(*Served)
		want   bool
	}{
		"an hour ago":                    {func(s *Served) { s.Last = s.Last.Add(-time.Hour) }, true},
		"a lease time ago":               {func(s *Served) { s.Last = s.Last.Add(-12 * time.Hour) }, false},
		"a little ahead of the clock":    {func(s *Served) { s.Last = s.Last.Add(time.Minute) }, true},
		"far ahead of the clock":         {func(s *Served) { s.Last = s.Last.Add(time.Hour) }, false},
		"a clone, or a restored backup":  {func(s *Served) { s.Machine = "m2" }, false},
		"another card, or a cloned disk": {func(s *Served) { s.Card = bob.hw() }, false},
		"another network":                {func(s *Served) { s.Subnet = netip.MustParsePrefix("192.168.1.0/25") }, false},
		"never":                          {func(s *Served) { *s = Served{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			earlier := now
			c.change(&earlier)
			if got := now.counts(earlier, 12*time.Hour); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
	if nameless := (Served{Last: now.Last}); nameless.counts(nameless, time.Hour) {
		t.Error("machines without a name count as the same")
	}
}

// Who waits for another newcomer does so for a while only: a search can be forged.
func TestYieldingEnds(t *testing.T) {
	s, err := New(tinyConfig(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.card = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	searchOf := func(m mac) bool {
		q := message(t, m, discover, dhcpv4.WithOption(dhcpv4.OptRFC3004UserClass([]string{userClassSearch})))
		return s.searchOfAnother(time.Unix(100, 0), q)
	}
	if !searchOf(mac{2, 0, 0, 0, 0, 10}) || s.yields(time.Unix(100, 0)) {
		t.Error("yields to a higher MAC")
	}
	if !searchOf(carol) || !s.yields(time.Unix(101, 0)) {
		t.Error("does not yield to a lower MAC")
	}
	if s.yields(time.Unix(120, 0)) {
		t.Error("yields to one that has gone")
	}
	s.seniorSeen = time.Unix(130, 0)
	if s.yields(time.Unix(132, 0)) {
		t.Error("still yields after half a minute")
	}
}
