package dhcpd

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// epoch is when the tables below begin.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var (
	alice = mac{0, 0x15, 0x65, 0, 0, 1} // known
	bob   = mac{0, 0x15, 0x65, 0, 0, 2} // has the reservation of .50
	carol = mac{2, 0, 0, 0, 0, 3}       // a stranger
	dave  = mac{2, 0, 0, 0, 0, 4}       // another
)

// tinyConfig has room for four clients: .10 to .13.
func tinyConfig() Config {
	return Config{
		Interface: "ens34", ServerID: netip.MustParseAddr("192.168.1.1"), Subnet: netip.MustParsePrefix("192.168.1.0/24"),
		RangeFirst: netip.MustParseAddr("192.168.1.10"), RangeLast: netip.MustParseAddr("192.168.1.13"),
		LeaseTime: time.Hour, Known: []net.HardwareAddr{alice.hw()},
		Reservations: []Reservation{{MAC: bob.hw(), Addr: netip.MustParseAddr("192.168.1.50"), Hostname: "desk"}},
		Relays: []Relay{
			{Addr: netip.MustParseAddr("192.168.1.9")},
			{
				Addr: netip.MustParseAddr("10.20.0.1"), Subnet: netip.MustParsePrefix("10.20.0.0/24"),
				RangeFirst: netip.MustParseAddr("10.20.0.100"), RangeLast: netip.MustParseAddr("10.20.0.101"),
			},
		},
		Options: []Option{
			Addrs(3, netip.MustParseAddr("192.168.1.1")), Addrs(6, netip.MustParseAddr("9.9.9.9")), Text(66, "192.168.1.1"),
		},
		ClassOptions: []ClassOptions{{Class: "Yealink", Options: []Option{Text(66, "tftp://192.168.1.1"), Uint32(132, 20)}}},
	}
}

func newTestTable(t *testing.T, cfg Config) *table {
	t.Helper()
	p, err := compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newTable(p)
}

// message makes what a client sends.
func message(t testing.TB, m mac, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) query {
	t.Helper()
	d, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(m.hw()), dhcpv4.WithMessageType(mt), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	src := netip.IPv4Unspecified()
	if d.ClientIPAddr != nil && mt != release {
		src, _ = netip.AddrFromSlice(d.ClientIPAddr.To4())
	}
	q, err := read(datagram{station: m, src: src, payload: d.ToBytes()})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// parseReply returns what a client reads from a reply.
func parseReply(t testing.TB, r *reply) *dhcpv4.DHCPv4 {
	t.Helper()
	if r == nil {
		t.Fatal("no reply")
	}
	m, err := dhcpv4.FromBytes(r.message())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func want(addr string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(addr)))
}

func by(relay string) dhcpv4.Modifier { return dhcpv4.WithGatewayIP(net.ParseIP(relay)) }

func from(server string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
}

func has(ciaddr string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ciaddr)) }

const (
	discover = dhcpv4.MessageTypeDiscover
	request  = dhcpv4.MessageTypeRequest
	decline  = dhcpv4.MessageTypeDecline
	release  = dhcpv4.MessageTypeRelease
	inform   = dhcpv4.MessageTypeInform
)

// step is one message and the answer to it: "offer 192.168.1.10", "ack ... 3600"
// with the lease time in seconds, "nak", or the reason for silence in brackets.
type step struct {
	after      time.Duration // since the step before
	who        mac
	what       dhcpv4.MessageType
	mods       []dhcpv4.Modifier
	by         mac // the frame's source, where it is not the client
	recovering bool
	want       string
}

func outcome(t testing.TB, d decision) string {
	t.Helper()
	switch {
	case d.drop != "":
		return "(" + d.drop + ")"
	case d.verify.IsValid():
		return "(verify)"
	case d.reply == nil:
		return "(done)"
	}
	m := parseReply(t, d.reply)
	switch m.MessageType() {
	case dhcpv4.MessageTypeNak:
		return "nak"
	case dhcpv4.MessageTypeOffer:
		return "offer " + m.YourIPAddr.String()
	}
	return fmt.Sprintf("ack %v %.0f", m.YourIPAddr, m.IPAddressLeaseTime(0).Seconds())
}

type mods = []dhcpv4.Modifier

// carolGets leases .10 to the stranger, who asks for it.
var carolGets = []step{
	{who: carol, what: discover, mods: mods{want("192.168.1.10")}, want: "offer 192.168.1.10"},
	{who: carol, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "ack 192.168.1.10 600"},
}

func TestHandle(t *testing.T) {
	for name, steps := range map[string][]step{
		"SELECTING ours": carolGets,
		"SELECTING another server's": {
			carolGets[0],
			{who: carol, what: request, mods: mods{from("192.168.1.9"), want("192.168.1.77")}, want: "(not_for_us)"},
			{after: time.Second, who: dave, what: discover, mods: mods{want("192.168.1.10")}, want: "offer 192.168.1.10"},
		},
		"SELECTING what was never offered, and is free": {
			{who: carol, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.11")}, want: "nak"},
			{who: bob, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.50")}, want: "nak"},
		},
		"SELECTING after the offer has run out": {
			carolGets[0],
			{after: time.Minute, who: carol, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "nak"},
		},
		"SELECTING what is offered to somebody else": {
			carolGets[0],
			{who: dave, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "nak"},
		},
		"SELECTING outside the range": {
			{who: carol, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.90")}, want: "nak"},
		},
		"INIT-REBOOT": {
			carolGets[0], carolGets[1],
			{who: carol, what: request, mods: mods{want("192.168.1.10")}, want: "ack 192.168.1.10 600"},
			{who: carol, what: request, mods: mods{want("192.168.1.11")}, want: "nak"},
			{who: carol, what: request, mods: mods{want("10.0.0.7")}, want: "nak"},
		},
		"INIT-REBOOT of a client that nobody knows": {
			{who: carol, what: request, mods: mods{want("192.168.1.12")}, want: "(unknown_client)"},
			{who: carol, what: request, mods: mods{want("10.0.0.7")}, want: "nak"},
		},
		"RENEWING and REBINDING": {
			carolGets[0], carolGets[1],
			{after: 5 * time.Minute, who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "ack 192.168.1.10 600"},
			{after: 9 * time.Minute, who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "ack 192.168.1.10 600"},
			{who: dave, what: request, mods: mods{has("192.168.1.10")}, want: "nak"},
		},
		"RENEWING after our leases were lost": {
			{who: carol, what: request, mods: mods{has("192.168.1.12")}, recovering: true, want: "ack 192.168.1.12 600"},
			{who: dave, what: request, mods: mods{has("192.168.1.12")}, recovering: true, want: "nak"},
			{who: dave, what: request, mods: mods{has("192.168.1.90")}, recovering: true, want: "nak"},
		},
		"the same address after it has expired": {
			carolGets[0], carolGets[1],
			{after: time.Hour, who: carol, what: discover, want: "offer 192.168.1.10"},
		},
		"a known client leases long, a reservation has its address": {
			{who: alice, what: discover, mods: mods{want("192.168.1.13")}, want: "offer 192.168.1.13"},
			{who: alice, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.13")}, want: "ack 192.168.1.13 3600"},
			{who: bob, what: discover, mods: mods{want("192.168.1.12")}, want: "offer 192.168.1.50"},
			{who: bob, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.50")}, want: "ack 192.168.1.50 3600"},
		},
		"DECLINE puts the address out of use": {
			carolGets[0], carolGets[1],
			{who: carol, what: decline, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "(done)"},
			{after: time.Minute, who: dave, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "nak"},
			{after: 14 * time.Minute, who: dave, what: discover, mods: mods{want("192.168.1.10")}, want: "offer 192.168.1.10"},
		},
		"DECLINE by another station": {
			carolGets[0], carolGets[1],
			{who: carol, what: decline, by: dave, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "(not_its_own)"},
			{who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "ack 192.168.1.10 600"},
		},
		"DECLINE of what was only offered": {
			carolGets[0],
			{who: carol, what: decline, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "(not_its_own)"},
		},
		"DECLINE long after the ACK": {
			carolGets[0], carolGets[1],
			{after: time.Minute, who: carol, what: decline, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "(verify)"},
		},
		"DECLINE of what is somebody else's": {
			carolGets[0], carolGets[1],
			{who: dave, what: decline, mods: mods{from("192.168.1.1"), want("192.168.1.10")}, want: "(not_its_own)"},
			{who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "ack 192.168.1.10 600"},
		},
		"RELEASE by another station": {
			carolGets[0], carolGets[1],
			{who: carol, what: release, by: dave, mods: mods{from("192.168.1.1"), has("192.168.1.10")}, want: "(not_its_own)"},
			{who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "ack 192.168.1.10 600"},
		},
		"RELEASE": {
			carolGets[0], carolGets[1],
			{who: dave, what: release, mods: mods{from("192.168.1.1"), has("192.168.1.10")}, want: "(not_its_own)"},
			{who: carol, what: release, mods: mods{from("192.168.1.1"), has("192.168.1.10")}, want: "(done)"},
			{who: carol, what: discover, want: "offer 192.168.1.10"},
		},
		"INFORM": {
			{who: carol, what: inform, mods: mods{has("192.168.1.77")}, want: "ack 0.0.0.0 0"},
			{who: carol, what: inform, mods: mods{has("10.0.0.1")}, want: "(not_its_own)"},
		},
		"a REQUEST that asks for nothing": {{who: carol, what: request, want: "(malformed)"}},
		"a relay of another network": {
			{who: carol, what: discover, mods: mods{dhcpv4.WithGatewayIP(net.IP{10, 0, 0, 1})}, want: "(relay)"},
			{who: carol, what: discover, mods: mods{dhcpv4.WithGatewayIP(net.IP{192, 168, 1, 8})}, want: "(relay)"},
		},
		"a network behind a relay": {
			{who: carol, what: discover, mods: mods{by("10.20.0.1"), want("10.20.0.101")}, want: "offer 10.20.0.101"},
			{who: carol, what: request, mods: mods{by("10.20.0.1"), from("192.168.1.1"), want("10.20.0.101")}, want: "ack 10.20.0.101 600"},
			{who: carol, what: request, mods: mods{has("10.20.0.101")}, want: "ack 10.20.0.101 600"}, // routed
			{who: alice, what: discover, mods: mods{by("10.20.0.1"), want("192.168.1.11")}, want: "offer 10.20.0.100"},
			{who: dave, what: discover, mods: mods{by("10.20.0.1")}, want: "(pool_full)"},
			{who: carol, what: discover, want: "offer 192.168.1.12"}, // carried to the LAN
			{who: carol, what: request, mods: mods{want("10.20.0.101")}, want: "nak"},
		},
		"a message type that clients do not send": {{who: carol, what: dhcpv4.MessageTypeOffer, want: "(unsupported)"}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newTestTable(t, tinyConfig()), steps)
		})
	}
}

func play(t *testing.T, table *table, steps []step) {
	t.Helper()
	now := epoch
	for i, s := range steps {
		now = now.Add(s.after)
		table.expire(now, func(Lease) {})
		q := message(t, s.who, s.what, s.mods...)
		if s.by != (mac{}) {
			q.station = s.by
		}
		if got := outcome(t, table.handle(now, s.recovering, q)); got != s.want {
			t.Fatalf("step %d: %s, want %s", i, got, s.want)
		}
	}
}

// Strangers without end may not take the address of a phone that is configured.
func TestAddressesAreHeldBackForKnownClients(t *testing.T) {
	table := newTestTable(t, tinyConfig())
	served := 0
	for i := range 100 {
		stranger := mac{2, 0, 0, 1, 0, byte(i)}
		d := table.handle(epoch, false, message(t, stranger, discover))
		if d.reply != nil {
			served++
		}
	}
	if served != 3 {
		t.Errorf("%d strangers were served, want 3 of 4 addresses", served)
	}
	if d := table.handle(epoch, false, message(t, alice, discover)); d.reply == nil {
		t.Error("no address is left for a phone")
	}
}

// Who declines every address takes no more than a part of the pool out of use.
func TestDecliningEverythingDoesNotEmptyThePool(t *testing.T) {
	cfg := tinyConfig()
	cfg.RangeLast = netip.MustParseAddr("192.168.1.109")
	table := newTestTable(t, cfg)
	for i := range 1000 {
		evil := mac{2, 0, 0, 2, byte(i >> 8), byte(i)}
		d := table.handle(epoch, false, message(t, evil, discover))
		if d.reply == nil {
			break
		}
		addr := parseReply(t, d.reply).YourIPAddr.String()
		table.handle(epoch, false, message(t, evil, request, from("192.168.1.1"), want(addr)))
		table.handle(epoch, false, message(t, evil, decline, from("192.168.1.1"), want(addr)))
	}
	if got := table.states[StateDeclined]; got > 26 {
		t.Errorf("%d of 100 addresses are out of use", got)
	}
	if d := table.handle(epoch, false, message(t, alice, discover)); d.reply == nil {
		t.Error("no address is left for a phone")
	}
}

// The longest unused address is given to a newcomer first.
func TestOldestExpiredAddressFirst(t *testing.T) {
	cfg := tinyConfig()
	cfg.Known, cfg.StrangerLeaseTime = nil, time.Minute
	table := newTestTable(t, cfg)
	now := epoch
	for i := range 4 {
		m, addr := mac{2, 0, 0, 3, 0, byte(i)}, fmt.Sprintf("192.168.1.%d", 10+(i+2)%4)
		now = now.Add(time.Second)
		table.handle(now, false, message(t, m, discover, want(addr)))
		table.handle(now, false, message(t, m, request, from("192.168.1.1"), want(addr)))
	}
	now = now.Add(time.Hour)
	table.expire(now, func(Lease) {})
	for _, wantAddr := range []string{"192.168.1.12", "192.168.1.13", "192.168.1.10"} {
		d := table.handle(now, false, message(t, mac{2, 0, 0, 4, 0, wantAddr[len(wantAddr)-1]}, discover))
		if got := outcome(t, d); got != "offer "+wantAddr {
			t.Errorf("%s, want %s", got, wantAddr)
		}
	}
}

func TestNewConfigurationMovesAClient(t *testing.T) {
	table := newTestTable(t, tinyConfig())
	play(t, table, carolGets)
	cfg := tinyConfig()
	cfg.Reservations = append(cfg.Reservations, Reservation{MAC: carol.hw(), Addr: netip.MustParseAddr("192.168.1.60")})
	p, err := compile(cfg)
	if err != nil {
		t.Fatal(err)
	}
	table.setPlan(p)
	play(t, table, []step{
		{who: carol, what: request, mods: mods{has("192.168.1.10")}, want: "nak"},
		{who: carol, what: discover, want: "offer 192.168.1.60"},
		{who: carol, what: request, mods: mods{from("192.168.1.1"), want("192.168.1.60")}, want: "ack 192.168.1.60 3600"},
	})
}

// Whole replies, option by option.
func TestReplies(t *testing.T) {
	asked := dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionHostName, dhcpv4.OptionTFTPServerName)
	base := dhcpv4.Options{
		1: {255, 255, 255, 0}, 3: {192, 168, 1, 1}, 6: {9, 9, 9, 9}, 51: {0, 0, 0x0e, 0x10}, 54: {192, 168, 1, 1},
		58: {0, 0, 0x07, 0x08}, 59: {0, 0, 0x0c, 0x4e},
	}
	with := func(more dhcpv4.Options) dhcpv4.Options {
		all := make(dhcpv4.Options)
		for _, o := range []dhcpv4.Options{base, more} {
			for c, v := range o {
				if v == nil {
					delete(all, c)
				} else {
					all[c] = v
				}
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		query query
		want  *dhcpv4.DHCPv4
	}{
		"OFFER to a phone, by a relay": {
			message(t, bob, discover, asked, dhcpv4.WithGatewayIP(net.IP{192, 168, 1, 9}),
				dhcpv4.WithOption(dhcpv4.OptClassIdentifier("yealink T42U")),
				dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2})),
				dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{1, 1, 7})),
			&dhcpv4.DHCPv4{
				GatewayIPAddr: net.IP{192, 168, 1, 9}, YourIPAddr: net.IP{192, 168, 1, 50},
				Options: with(dhcpv4.Options{
					12: []byte("desk"), 53: {2}, 61: {1, 2}, 66: []byte("tftp://192.168.1.1"), 82: {1, 1, 7}, 132: {0, 0, 0, 20},
				}),
			},
		},
		"ACK to a RENEWING client": {
			message(t, bob, request, asked, has("192.168.1.50")),
			&dhcpv4.DHCPv4{
				ClientIPAddr: net.IP{192, 168, 1, 50}, YourIPAddr: net.IP{192, 168, 1, 50},
				Options: with(dhcpv4.Options{12: []byte("desk"), 53: {5}, 66: []byte("192.168.1.1")}),
			},
		},
		"NAK": {
			message(t, bob, request, asked, want("10.0.0.1")),
			&dhcpv4.DHCPv4{Options: dhcpv4.Options{53: {6}, 54: {192, 168, 1, 1}, 56: []byte("wrong network")}},
		},
		"ACK to an INFORM": {
			message(t, bob, inform, asked, has("192.168.1.50")),
			&dhcpv4.DHCPv4{
				ClientIPAddr: net.IP{192, 168, 1, 50},
				Options:      with(dhcpv4.Options{12: []byte("desk"), 53: {5}, 66: []byte("192.168.1.1"), 51: nil, 58: nil, 59: nil}),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTestTable(t, tinyConfig())
			table.handle(epoch, false, message(t, bob, discover))
			table.handle(epoch, false, message(t, bob, request, from("192.168.1.1"), want("192.168.1.50")))
			c.want.OpCode, c.want.HWType = dhcpv4.OpcodeBootReply, 1
			c.want.ClientHWAddr, c.want.TransactionID = bob.hw(), dhcpv4.TransactionID{1, 2, 3, 4}
			if c.want.Options.Has(dhcpv4.OptionSubnetMask) {
				c.want.ServerIPAddr = net.IP{192, 168, 1, 1}
			}
			got := table.handle(epoch, false, c.query).reply
			if diff := cmp.Diff(wire(t, c.want), parseReply(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// wire returns what a client reads from a message.
func wire(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	t.Helper()
	got, err := dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A message never exceeds what the client takes (option 57), nor 576 bytes when it
// does not say, nor a frame.
func TestReplyFitsTheClient(t *testing.T) {
	cfg := tinyConfig()
	long := make([]byte, 400)
	cfg.Options = append(cfg.Options, Option{43, long}, Option{114, long}, Option{224, long})
	for limit, wantCodes := range map[int][]uint8{0: {66}, 1000: {43, 66}, 1500: {43, 66, 114}, 3000: {43, 66, 114}} {
		table := newTestTable(t, cfg)
		var sent mods
		if limit > 0 {
			sent = append(sent, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(uint16(limit))))
		}
		r := table.handle(epoch, false, message(t, alice, discover, sent...)).reply
		if most := max(limit, 576) - 28; len(r.message()) > min(most, 1472) {
			t.Errorf("limit %d: %d bytes", limit, len(r.message()))
		}
		m := parseReply(t, r)
		var codes []uint8
		for _, c := range []uint8{43, 66, 114, 224} {
			if m.Options[c] != nil {
				codes = append(codes, c)
			}
		}
		if diff := cmp.Diff(wantCodes, codes); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
}

// Some embedded clients look at the first option only (RFC 2131 asks for no order).
func TestTypeServerAndLeaseTimeComeFirst(t *testing.T) {
	table := newTestTable(t, tinyConfig())
	steps := []query{
		message(t, bob, discover), message(t, bob, request, from("192.168.1.1"), want("192.168.1.50")),
		message(t, bob, inform, has("192.168.1.50")), message(t, bob, request, want("10.0.0.1")),
	}
	for i, first := range [][]byte{{53, 54, 51}, {53, 54, 51}, {53, 54, 1}, {53, 54, 56}} {
		var got []byte
		for b := table.handle(epoch, false, steps[i]).reply.message()[optionsAt:]; len(got) < 3; b = b[2+b[1]:] {
			got = append(got, b[0])
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("%v: %s", steps[i].kind, diff)
		}
	}
}

// An INFORM is answered only at the address that it came from.
func TestInformWithAnInventedAddress(t *testing.T) {
	q := message(t, carol, inform, has("192.168.1.77"))
	q.src = netip.IPv4Unspecified()
	if got := outcome(t, newTestTable(t, tinyConfig()).handle(epoch, false, q)); got != "(not_its_own)" {
		t.Error(got)
	}
}
