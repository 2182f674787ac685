package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

func ackOf(addr string, seconds time.Duration) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{YourIPAddr: net.ParseIP(addr), Options: dhcpv4.Options{}}
	m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(seconds))
	return m
}

// What must not be is counted, and makes the run fail.
func TestDoubleLeaseIsCounted(t *testing.T) {
	s := &site{}
	s.fleet = newFleet(s, port{})
	a, b, late := newClient(randomMAC(2)), newClient(randomMAC(2)), newClient(randomMAC(2))
	s.fleet.bound(a, ackOf("10.77.1.5", time.Hour), time.Now(), 0)
	s.fleet.bound(a, ackOf("10.77.1.5", time.Hour), time.Now(), 0)
	if mac, l := s.fleet.holding(netip.MustParseAddr("10.77.1.5")); mac.String() != a.mac.String() || l.epoch != 0 {
		t.Errorf("held by %s: %+v", mac, l)
	}
	var out strings.Builder
	if err := s.report(&out, time.Minute); err != nil {
		t.Errorf("a lease that was renewed: %v\n%s", err, out.String())
	}
	s.fleet.bound(b, ackOf("10.77.1.6", 0), time.Now(), 0) // over at once
	s.fleet.bound(late, ackOf("10.77.1.6", time.Hour), time.Now(), 0)
	if n := s.count.double.Load(); n != 0 {
		t.Errorf("an address of a lease that is over counts: %d", n)
	}
	s.fleet.bound(b, ackOf("10.77.1.5", time.Hour), time.Now(), 0)
	if n := s.count.double.Load(); n != 1 {
		t.Errorf("%d double leases", n)
	}
	if err := s.report(&out, time.Minute); err == nil {
		t.Error("the run passes")
	}
}

// A run that has tested nothing does not pass.
func TestNothingAcknowledgedFails(t *testing.T) {
	var out strings.Builder
	if err := new(site).report(&out, time.Minute); err == nil {
		t.Error("it passes")
	}
}

func TestFrames(t *testing.T) {
	mac := randomMAC(2)
	m := message(mac, dhcpv4.MessageTypeOffer)
	m.OpCode = dhcpv4.OpcodeBootReply
	f := udpFrame(mac, broadcast, netip.AddrPortFrom(serverAddr, 67), netip.AddrPortFrom(everybody, 68), m.ToBytes())
	if got := dhcpAnswer(f); got == nil || got.TransactionID != m.TransactionID {
		t.Errorf("%v", got)
	}
	for n := range len(f) - len(m.ToBytes()) + 200 {
		if dhcpAnswer(f[:n]) != nil {
			t.Errorf("%d bytes are an answer", n)
		}
	}
	question := make([]byte, etherLen+28)
	copy(question[6:], broadcast)
	binary.BigEndian.PutUint16(question[12:], unix.ETH_P_ARP)
	question[etherLen+7] = 1
	copy(question[etherLen+24:], serverAddr.AsSlice())
	if addr, ok := arpQuestion(question); !ok || addr != serverAddr {
		t.Errorf("%v %v", addr, ok)
	}
	if got := arpAnswer(question, mac); got[etherLen+7] != 2 || string(got[etherLen+8:etherLen+14]) != string(mac) ||
		string(got[etherLen+14:etherLen+18]) != string(serverAddr.AsSlice()) || string(got[:6]) != string(broadcast) {
		t.Errorf("% x", got)
	}
}
