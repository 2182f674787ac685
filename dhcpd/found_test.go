package dhcpd

import (
	"net/netip"
	"testing"
)

// inUse is a server to which ARP has shown machines on the LAN.
func inUse(t *testing.T, seen map[string]mac) *Server {
	t.Helper()
	s, err := New(tinyConfig(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for addr, m := range seen {
		s.conflict(epoch, netip.MustParseAddr(addr), m)
	}
	return s
}

// Who answers at an address with its own MAC keeps it, in every way to ask for it.
func TestClientOfTheFormerServerKeepsItsAddress(t *testing.T) {
	at := "192.168.1.11"
	for name, q := range map[string]step{
		"RENEWING":             {what: request, mods: mods{has(at)}, want: "ack " + at},
		"INIT-REBOOT":          {what: request, mods: mods{want(at)}, want: "ack " + at},
		"DISCOVER asks for it": {what: discover, mods: mods{want(at)}, want: "offer " + at},
		"DISCOVER":             {what: discover, want: "offer " + at},
	} {
		for lease, m := range map[string]mac{" 3600": alice, " 600": carol} {
			t.Run(name+lease, func(t *testing.T) {
				s := inUse(t, map[string]mac{at: m})
				if r := s.table.byAddr[netip.MustParseAddr(at)]; r == nil || r.State != StateInUse || r.owner != m {
					t.Fatalf("record: %+v", r)
				}
				q := q
				q.who = m
				if q.what == request {
					q.want += lease
				}
				play(t, s.table, []step{q})
			})
		}
	}
}

// Nobody else gets it, and a machine that has a reservation goes there.
func TestAddressInUseIsNobodyElses(t *testing.T) {
	s := inUse(t, map[string]mac{"192.168.1.11": carol, "192.168.1.12": bob})
	play(t, s.table, []step{
		{who: alice, what: request, mods: mods{want("192.168.1.11")}, want: "nak"},
		{who: bob, what: request, mods: mods{want("192.168.1.12")}, want: "nak"},
		{who: bob, what: discover, mods: mods{want("192.168.1.12")}, want: "offer 192.168.1.50"},
	})
}

// When our leases were lost, whoever answers at an address keeps it, however full the pool is: nobody else is offered it.
func TestLostLeasesAreFoundByARP(t *testing.T) {
	s := inUse(t, nil)
	s.recover = epoch.Add(1)
	at := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, 10 + i}) }
	for i := range byte(4) {
		s.conflict(epoch, at(i), mac{2, 0, 0, 0, 1, i})
		s.conflict(epoch, at(i), mac{2, 0, 0, 0, 2, i}) // somebody who answers as well
	}
	if n := s.table.states; n[StateInUse] != 4 {
		t.Fatalf("%v", n)
	}
	for i := range byte(4) {
		play(t, s.table, []step{
			{who: mac{2, 0, 0, 0, 2, i}, what: request, mods: mods{has(at(i).String())}, recovering: true, want: "nak"},
			{who: mac{2, 0, 0, 0, 1, i}, what: request, mods: mods{has(at(i).String())}, recovering: true, want: "ack " + at(i).String() + " 600"},
		})
	}
	one := inUse(t, nil)
	one.recover = epoch.Add(1)
	for i := range byte(4) {
		one.conflict(epoch, at(i), carol)
	}
	if n := one.table.states; n[StateInUse] != 1 || n[StateDeclined] > 2 {
		t.Errorf("one machine that answers for all: %v", n)
	}
}

// Answers to ARP do not empty the pool: one address a machine, and none that is
// held back for a known client.
func TestAnswersToARPDoNotEmptyThePool(t *testing.T) {
	one := inUse(t, map[string]mac{"192.168.1.10": carol, "192.168.1.11": carol, "192.168.1.12": carol, "192.168.1.13": carol})
	if n := one.table.states; n[StateInUse] != 1 || n[StateDeclined] > 2 {
		t.Errorf("one machine that answers for all: %v", n)
	}
	many := inUse(t, map[string]mac{
		"192.168.1.10": {2, 0, 0, 0, 1, 1}, "192.168.1.11": {2, 0, 0, 0, 1, 2}, "192.168.1.12": {2, 0, 0, 0, 1, 3}, "192.168.1.13": {2, 0, 0, 0, 1, 4},
	})
	if n := many.table.states; n[StateInUse] != 3 {
		t.Errorf("many machines: %v", n)
	}
}
