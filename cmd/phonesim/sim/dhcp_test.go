package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// dhcpServer answers what a test tells it to.
type dhcpServer struct {
	*lan
	answer func(n int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 // to the n-th message from 0; nil: none
	at     []time.Time
	types  []dhcpv4.MessageType
	seen   []*dhcpv4.DHCPv4
}

func newDHCPServer(t testing.TB, answer func(n int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4) *dhcpServer {
	s := &dhcpServer{lan: newLAN(t), answer: answer}
	s.udp = func(src mac, d datagram) {
		m, err := dhcpv4.FromBytes(d.payload)
		if err != nil || d.dst.Port() != serverPort {
			t.Errorf("%v to %v: %v", d.src, d.dst, err)
			return
		}
		n := len(s.at)
		s.at, s.types, s.seen = append(s.at, time.Now()), append(s.types, m.MessageType()), append(s.seen, m)
		if a := s.answer(n, m); a != nil {
			s.reply(src, netip.AddrPortFrom(serverAddr, serverPort), netip.AddrPortFrom(phoneAddr, clientPort), a.ToBytes())
		}
	}
	return s
}

// dhcpReply is what a plain server answers.
func dhcpReply(t testing.TB, m *dhcpv4.DHCPv4, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	a, err := dhcpv4.NewReplyFromRequest(m, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(mt), dhcpv4.WithYourIP(net.IP(phoneAddr.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP(serverAddr.AsSlice()))), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(net.IP(serverAddr.AsSlice())), dhcpv4.WithDNS(net.IPv4(192, 168, 1, 2), net.IPv4(192, 168, 1, 3)),
		dhcpv4.WithOption(dhcpv4.OptTFTPServerName("192.168.1.1\x00")),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func usual(t testing.TB, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		return dhcpReply(t, m, dhcpv4.MessageTypeOffer)
	}
	return dhcpReply(t, m, dhcpv4.MessageTypeAck)
}

func TestLease(t *testing.T) {
	s := newDHCPServer(t, func(_ int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return usual(t, m) })
	h := s.link.plug(phoneMAC)
	got, err := h.boot(t.Context(), func() { t.Error("something was sent again") })
	if err != nil {
		t.Fatal(err)
	}
	want := lease{
		addr: netip.MustParsePrefix("192.168.1.10/24"), gateway: serverAddr, server: serverAddr,
		resolvers: []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("192.168.1.3")}, option66: "192.168.1.1",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(lease{}), equalAddrs, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	for _, m := range s.seen {
		if class := m.ClassIdentifier(); class != "yealink" {
			t.Errorf("%v: option 60 is %q", m.MessageType(), class)
		}
		if list := m.Options.Get(dhcpv4.OptionParameterRequestList); !slices.Equal(list, paramList) {
			t.Errorf("%v: option 55 is %v", m.MessageType(), list)
		}
	}
	request := s.seen[1]
	if !request.RequestedIPAddress().Equal(net.IP(phoneAddr.AsSlice())) || !request.ServerIdentifier().Equal(net.IP(serverAddr.AsSlice())) {
		t.Errorf("request %v", request.Summary())
	}
}

// gaps checks that messages came after the given times, give or take a second.
func gaps(t *testing.T, at []time.Time, want ...time.Duration) {
	t.Helper()
	if len(at) != len(want)+1 {
		t.Fatalf("%d messages, want %d", len(at), len(want)+1)
	}
	for i, w := range want {
		if got := at[i+1].Sub(at[i]); got < w-time.Second || got > w+time.Second {
			t.Errorf("message %d after %v, want %v give or take a second", i+1, got, w)
		}
	}
}

func TestDiscoverBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDHCPServer(t, func(n int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if n < 6 {
				return nil
			}
			return usual(t, m)
		})
		repeated := 0
		if _, err := s.link.plug(phoneMAC).boot(t.Context(), func() { repeated++ }); err != nil {
			t.Fatal(err)
		}
		const sec = time.Second
		gaps(t, s.at[:7], 4*sec, 8*sec, 16*sec, 32*sec, 32*sec, 32*sec)
		if repeated != 6 {
			t.Errorf("%d repeated, want 6", repeated)
		}
	})
}

func TestUnansweredRequestBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDHCPServer(t, func(n int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if m.MessageType() == dhcpv4.MessageTypeRequest && n < 6 {
				return nil
			}
			return usual(t, m)
		})
		repeated := 0
		if _, err := s.link.plug(phoneMAC).boot(t.Context(), func() { repeated++ }); err != nil {
			t.Fatal(err)
		}
		const d, r = dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest
		if want := []dhcpv4.MessageType{d, r, r, r, r, d, r}; !slices.Equal(s.types, want) {
			t.Errorf("sent %v, want %v", s.types, want)
		}
		gaps(t, s.at[1:6], 4*time.Second, 8*time.Second, 16*time.Second, 32*time.Second)
		if repeated != 4 {
			t.Errorf("%d repeated, want 4", repeated)
		}
	})
}

func TestRefusedRequestBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newDHCPServer(t, func(n int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
			if n == 1 {
				return dhcpReply(t, m, dhcpv4.MessageTypeNak)
			}
			return usual(t, m)
		})
		if _, err := s.link.plug(phoneMAC).boot(t.Context(), func() {}); err != nil {
			t.Fatal(err)
		}
		if len(s.at) != 4 || s.at[2].Sub(s.at[1]) != nakPause {
			t.Errorf("sent %v at %v", s.types, s.at)
		}
	})
}

func TestForeignAnswersAreNotTaken(t *testing.T) {
	for name, spoil := range map[string]func(*dhcpv4.DHCPv4){
		"other transaction": func(a *dhcpv4.DHCPv4) { a.TransactionID[0]++ },
		"other client":      func(a *dhcpv4.DHCPv4) { a.ClientHWAddr = net.HardwareAddr{0, 0x15, 0x65, 9, 9, 9} },
		"a request":         func(a *dhcpv4.DHCPv4) { a.OpCode = dhcpv4.OpcodeBootRequest },
		"an ACK":            func(a *dhcpv4.DHCPv4) { a.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newDHCPServer(t, func(_ int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				a := dhcpReply(t, m, dhcpv4.MessageTypeOffer)
				spoil(a)
				return a
			})
			late := errors.New("late")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, late)
			defer cancel()
			if _, err := s.link.plug(phoneMAC).boot(ctx, func() {}); !errors.Is(err, late) {
				t.Errorf("%s: %v", name, err)
			}
			if slices.Contains(s.types, dhcpv4.MessageTypeRequest) {
				t.Errorf("%s: the offer was taken", name)
			}
		})
	}
}

func TestSameAddressTwice(t *testing.T) {
	s := newDHCPServer(t, func(_ int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return usual(t, m) })
	if _, err := s.link.plug(phoneMAC).boot(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
	_, err := s.link.plug(mac{0, 0x15, 0x65, 0, 0, 2}).boot(t.Context(), func() {})
	if err == nil || !strings.Contains(err.Error(), "192.168.1.10 to 00:15:65:00:00:01 and to 00:15:65:00:00:02") {
		t.Errorf("error %v", err)
	}
}

func TestReleaseFreesTheAddress(t *testing.T) {
	s := newDHCPServer(t, func(_ int, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeRelease {
			return nil
		}
		return usual(t, m)
	})
	h := s.link.plug(phoneMAC)
	l, err := h.boot(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.release(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	m := s.seen[len(s.seen)-1]
	if m.MessageType() != dhcpv4.MessageTypeRelease || !m.ClientIPAddr.Equal(net.IP(phoneAddr.AsSlice())) {
		t.Errorf("sent %v", m.Summary())
	}
	if _, err := s.link.plug(mac{0, 0x15, 0x65, 0, 0, 2}).boot(t.Context(), func() {}); err != nil {
		t.Error(err)
	}
}

// A server that cannot reach a client without address sends to everybody.
func TestBroadcastAnswerFindsItsPhone(t *testing.T) {
	l := newLAN(t)
	h, other := l.link.plug(phoneMAC), l.link.plug(mac{0, 0x15, 0x65, 0, 0, 2})
	mine, others := h.listen(clientPort), other.listen(clientPort)
	payload := make([]byte, 240)
	copy(payload[chaddrStart:], phoneMAC[:])
	binary.BigEndian.PutUint16(payload[10:], 0x8000)
	l.reply(broadcast, netip.AddrPortFrom(serverAddr, serverPort), netip.MustParseAddrPort("255.255.255.255:68"), payload)
	if len(mine) != 1 || len(others) != 0 {
		t.Errorf("%d at the phone, %d at another, want 1 and 0", len(mine), len(others))
	}
}

func TestSilentNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t)
		l.mute = true
		h := l.plug()
		start := time.Now()
		err := h.sendUDP(t.Context(), 1025, netip.AddrPortFrom(serverAddr, 69), nil)
		if err == nil || !strings.Contains(err.Error(), "192.168.1.1 does not answer to ARP") {
			t.Errorf("error %v", err)
		}
		if len(l.arps) != arpTries || time.Since(start) != arpTries*arpTime {
			t.Errorf("%d requests in %v, want %d in %v", len(l.arps), time.Since(start), arpTries, arpTries*arpTime)
		}
	})
}
