package sim

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// lan is a link without a card, with a server on it.
type lan struct {
	t    testing.TB
	link *link
	mute bool                      // the server answers no ARP
	udp  func(src mac, d datagram) // takes what phones send

	mu   sync.Mutex
	arps []time.Time // of requests for the server's address
}

func newLAN(t testing.TB) *lan {
	l := &lan{t: t}
	l.link = newLink(l.receive)
	return l
}

// receive is the server's end of the wire.
func (l *lan) receive(f []byte) {
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_ARP:
		a, ok := parseARP(f[ethLen:])
		if !ok {
			l.t.Errorf("malformed ARP: %x", f)
		}
		if a.reply || a.dst != serverAddr {
			return
		}
		l.mu.Lock()
		l.arps = append(l.arps, time.Now())
		l.mu.Unlock()
		if !l.mute {
			reply := arp{reply: true, srcMAC: serverMAC, src: serverAddr, dstMAC: a.srcMAC, dst: a.src}
			l.link.deliver(ethernet(a.srcMAC, serverMAC, unix.ETH_P_ARP, reply.packet()))
		}
	case unix.ETH_P_IP:
		p, ok := parseIPv4(f[ethLen:])
		if !ok {
			l.t.Errorf("malformed IPv4: %x", f)
		}
		if d, ok := parseUDP(p); ok && l.udp != nil {
			l.udp(mac(f[6:12]), d)
		}
	}
}

// reply sends a datagram to a phone.
func (l *lan) reply(to mac, src, dst netip.AddrPort, payload []byte) {
	l.link.deliver(ethernet(to, serverMAC, unix.ETH_P_IP, udpPacket(src, dst, payload)))
}

// plug adds a phone that has its address already.
func (l *lan) plug() *host {
	h := l.link.plug(phoneMAC)
	if err := h.configure(netip.PrefixFrom(phoneAddr, 24), serverAddr); err != nil {
		l.t.Fatal(err)
	}
	return h
}

func TestFilter(t *testing.T) {
	phones := map[mac]*host{phoneMAC: nil, {0x80, 0x5e, 0xc0, 1, 2, 3}: nil}
	vm, err := bpf.NewVM(filter(phones))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		dst  mac
		kind uint16
		want bool
	}{
		{"to a phone", phoneMAC, unix.ETH_P_IP, true},
		{"to a phone of another prefix", mac{0x80, 0x5e, 0xc0, 1, 2, 3}, unix.ETH_P_IP, true},
		{"to everybody", broadcast, unix.ETH_P_IP, true},
		{"ARP to everybody", broadcast, unix.ETH_P_ARP, true},
		{"ARP to a phone", phoneMAC, unix.ETH_P_ARP, true},
		{"to another machine", mac{0x00, 0x15, 0x66, 0, 0, 1}, unix.ETH_P_IP, false},
		{"IPv6 to everybody", mac{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6, false},
	} {
		n, err := vm.Run(ethernet(c.dst, serverMAC, c.kind, make([]byte, 46)))
		if err != nil || (n > 0) != c.want {
			t.Errorf("%s: takes %d bytes, %v, want any: %v", c.name, n, err, c.want)
		}
	}
	for i := range maxPrefixes {
		phones[mac{0x10, byte(i), 0, 0, 0, 1}] = nil
	}
	if vm, err = bpf.NewVM(filter(phones)); err != nil {
		t.Fatal(err)
	}
	if n, err := vm.Run(ethernet(mac{0x10, 3, 0, 0, 0, 1}, serverMAC, unix.ETH_P_IP, make([]byte, 46))); err != nil || n == 0 {
		t.Errorf("with many prefixes a frame to a phone is dropped: %d, %v", n, err)
	}
}
