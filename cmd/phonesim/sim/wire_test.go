package sim

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	phoneMAC   = mac{0x00, 0x15, 0x65, 0, 0, 1}
	serverMAC  = mac{0x02, 0, 0, 0, 0, 0xfe}
	phoneAddr  = netip.MustParseAddr("192.168.1.10")
	serverAddr = netip.MustParseAddr("192.168.1.1")
	equalAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	equalPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUDPPacketChecksums(t *testing.T) {
	for _, payload := range []string{"", "odd", "even", "\xff\xff\xff\xff"} {
		src, dst := netip.AddrPortFrom(phoneAddr, 1025), netip.AddrPortFrom(serverAddr, 69)
		p := udpPacket(src, dst, []byte(payload))
		if got := sum(0, p[:ipLen]); got != 0xffff {
			t.Errorf("%q: sum over the IPv4 header is %#x, want 0xffff", payload, got)
		}
		// RFC 768: pseudo header of addresses, protocol and length, then the datagram.
		pseudo := append(append([]byte{}, p[12:20]...), 0, 17, 0, byte(len(p)-ipLen))
		if got := sum(0, append(pseudo, p[ipLen:]...)); got != 0xffff {
			t.Errorf("%q: sum over the UDP datagram is %#x, want 0xffff", payload, got)
		}
		ip, ok := parseIPv4(p)
		if !ok {
			t.Fatalf("%q: own packet is not read", payload)
		}
		d, ok := parseUDP(ip)
		if want := (datagram{src, dst, []byte(payload)}); !ok || !cmp.Equal(d, want, cmp.AllowUnexported(datagram{}), equalPorts) {
			t.Errorf("read %+v, %v, want %+v", d, ok, want)
		}
	}
}

// The example is a header whose checksum many texts work out by hand: 0xb861.
func TestIPv4HeaderChecksum(t *testing.T) {
	p := unhex(t, "45000073000040004011b861c0a80001c0a800c7")
	if got := sum(0, p); got != 0xffff {
		t.Errorf("sum %#x, want 0xffff", got)
	}
	binary.BigEndian.PutUint16(p[10:], 0)
	if got := ^sum(0, p); got != 0xb861 {
		t.Errorf("checksum %#x, want 0xb861", got)
	}
}

func TestParseIPv4Refuses(t *testing.T) {
	good := udpPacket(netip.AddrPortFrom(serverAddr, 67), netip.AddrPortFrom(phoneAddr, 68), []byte("data"))
	if _, ok := parseIPv4(append(good, 0, 0, 0)); !ok {
		t.Error("a packet that Ethernet padded is refused")
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"cut off":          func(p []byte) []byte { return p[:len(p)-1] },
		"header cut off":   func(p []byte) []byte { return p[:ipLen-1] },
		"empty":            func([]byte) []byte { return nil },
		"IPv6":             func(p []byte) []byte { p[0] = 0x65; return p },
		"header too short": func(p []byte) []byte { p[0] = 0x44; return p },
		"length too short": func(p []byte) []byte { p[2], p[3] = 0, 19; return p },
		"first fragment":   func(p []byte) []byte { p[6] = 0x20; return p },
		"later fragment":   func(p []byte) []byte { p[7] = 1; return p },
	} {
		if _, ok := parseIPv4(spoil(append([]byte(nil), good...))); ok {
			t.Errorf("%s: taken", name)
		}
	}
	for name, length := range map[string]uint16{"shorter than its header": 7, "longer than the packet": 13} {
		p := append([]byte(nil), good...)
		binary.BigEndian.PutUint16(p[ipLen+4:], length)
		ip, _ := parseIPv4(p)
		if _, ok := parseUDP(ip); ok {
			t.Errorf("a datagram %s is taken", name)
		}
	}
}

func TestARP(t *testing.T) {
	a := arp{srcMAC: phoneMAC, src: phoneAddr, dst: serverAddr}
	const want = "0001080006040001" + "001565000001c0a8010a" + "000000000000c0a80101"
	if got := hex.EncodeToString(a.packet()); got != want {
		t.Errorf("request %s, want %s", got, want)
	}
	a = arp{reply: true, srcMAC: serverMAC, src: serverAddr, dstMAC: phoneMAC, dst: phoneAddr}
	got, ok := parseARP(append(a.packet(), make([]byte, 18)...))
	if !ok || !cmp.Equal(got, a, cmp.AllowUnexported(arp{}), equalAddrs) {
		t.Errorf("read %+v, %v, want %+v", got, ok, a)
	}
	for name, p := range map[string]string{
		"cut off":  "000108000604000100156500",
		"IPv6":     "000186dd06040001001565000001c0a8010a000000000000c0a80101",
		"RARP":     "0001080006040003001565000001c0a8010a000000000000c0a80101",
		"ARP 256+": "0001080006040101001565000001c0a8010a000000000000c0a80101",
	} {
		if _, ok := parseARP(unhex(t, p)); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestEchoReply(t *testing.T) {
	ping := make([]byte, ipLen, ipLen+12)
	ping = append(ping, 8, 0, 0, 0, 1, 2, 3, 4, 'a', 'b', 'c', 'd')
	ipv4Header(ping, 1, serverAddr, phoneAddr)
	p, ok := parseIPv4(ping)
	if !ok {
		t.Fatal("the ping is not read")
	}
	reply, ok := parseIPv4(echoReply(p))
	if !ok || reply.src != phoneAddr || reply.dst != serverAddr || reply.proto != 1 {
		t.Fatalf("reply %+v, %v", reply, ok)
	}
	if sum(0, reply.body) != 0xffff || reply.body[0] != 0 || string(reply.body[4:]) != "\x01\x02\x03\x04abcd" {
		t.Errorf("reply carries %x", reply.body)
	}
	if p.body[0] = 0; echoReply(p) != nil {
		t.Error("a reply is answered")
	}
}
