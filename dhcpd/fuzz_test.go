package dhcpd

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Whatever a sequence of frames holds, the server neither panics nor gives an
// address to two clients, and every answer fits the wire. The input is a sequence
// of datagrams, each after its length in two bytes.
func FuzzHandle(f *testing.F) {
	seed := func(queries ...query) {
		var in []byte
		for _, q := range queries {
			b := frame(q.mac.hw(), broadcastMAC.hw(), netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort, serverPort, q.payload)
			in = append(binary.BigEndian.AppendUint16(in, uint16(len(b))), b...)
		}
		f.Add(in)
	}
	seed(message(f, alice, discover), message(f, alice, request, from("192.168.1.1"), want("192.168.1.10")))
	seed(message(f, carol, discover, want("192.168.1.12")), message(f, carol, request, want("192.168.1.12")), message(f, dave, request, has("192.168.1.12")))
	seed(message(f, bob, discover), message(f, bob, decline, from("192.168.1.1"), want("192.168.1.50")), message(f, bob, discover))
	seed(message(f, carol, inform, has("192.168.1.77"), dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(300))))
	seed(message(f, carol, discover, dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, make([]byte, 255)), dhcpv4.WithGatewayIP([]byte{192, 168, 1, 9})))
	f.Add([]byte{0, 3, 1, 2, 3, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := compile(tinyConfig())
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{table: newTable(p), metrics: newMetrics()}
		now, limit := epoch, newLimiter()
		for len(in) >= 2 {
			n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
			q, ok := s.decode(in[2:2+n], now, limit)
			in = in[2+n:]
			if !ok {
				continue
			}
			now = now.Add(time.Minute)
			s.table.expire(now, func(Lease) {})
			d := s.table.handle(now, n%2 == 0, q)
			if d.reply != nil {
				if m := parseReply(t, d.reply); len(d.reply.frame) > 1514 || m.OpCode != dhcpv4.OpcodeBootReply {
					t.Fatalf("%d bytes: %s", len(d.reply.frame), m.Summary())
				}
			}
			checkTable(t, s.table)
		}
	})
}

// checkTable fails when the table contradicts itself.
func checkTable(t *testing.T, table *table) {
	t.Helper()
	holders := make(map[mac]netip.Addr)
	var states [stateCount]int
	for addr, r := range table.byAddr {
		states[r.State]++
		if r.Addr != addr {
			t.Fatalf("%v is filed under %v", r.Addr, addr)
		}
		if r.State != StateBound {
			continue
		}
		if other, two := holders[r.owner]; two {
			t.Fatalf("%v has both %v and %v", r.owner, other, addr)
		}
		holders[r.owner] = addr
		if table.byMAC[r.owner] != r {
			t.Fatalf("%v has %v, and is not known to", r.owner, addr)
		}
	}
	if states != table.states {
		t.Fatalf("counted %v, found %v", table.states, states)
	}
}
