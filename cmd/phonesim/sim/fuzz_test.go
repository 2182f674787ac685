package sim

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// FuzzFrame hands a phone any frame. It must not panic, and what the phone sends
// must be read again.
func FuzzFrame(f *testing.F) {
	server, phone := netip.AddrPortFrom(serverAddr, 67), netip.AddrPortFrom(phoneAddr, clientPort)
	question := arp{srcMAC: serverMAC, src: serverAddr, dst: phoneAddr}
	ping := make([]byte, ipLen+8)
	ping[ipLen] = 8
	ipv4Header(ping, unix.IPPROTO_ICMP, serverAddr, phoneAddr)
	dhcp := make([]byte, 300)
	copy(dhcp[chaddrStart:], phoneMAC[:])
	for _, seed := range [][]byte{
		nil,
		ethernet(broadcast, serverMAC, unix.ETH_P_ARP, question.packet()),
		ethernet(phoneMAC, serverMAC, unix.ETH_P_IP, ping),
		ethernet(phoneMAC, serverMAC, unix.ETH_P_IP, udpPacket(server, phone, dhcp)),
		ethernet(broadcast, serverMAC, unix.ETH_P_IP, udpPacket(server, netip.MustParseAddrPort("255.255.255.255:68"), dhcp)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) > maxFrame {
			return
		}
		l := newLAN(t)
		h := l.plug()
		in := h.listen(clientPort)
		h.setTCP(func(p []byte) {
			if _, ok := parseIPv4(p); !ok {
				t.Errorf("malformed TCP packet %x", p)
			}
		})
		l.link.deliver(frame)
		select {
		case d := <-in:
			m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest}
			answerTo(m, d, []dhcpv4.MessageType{dhcpv4.MessageTypeOffer})
			dnsAnswer(0, d.payload)
		default:
		}
	})
}

// FuzzTFTP plays any packets of a server to a transfer.
func FuzzTFTP(f *testing.F) {
	for _, seed := range []string{"", "\x00\x03\x00\x01data", "\x00\x05\x00\x01File not found\x00", "\x00\x06blksize\x008\x00tsize\x003\x00|\x00\x03\x00\x01abc"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, packets []byte) {
		peer := netip.AddrPortFrom(serverAddr, tftpPort)
		r := newTFTPRead(peer, "x")
		for p := range bytes.SplitSeq(packets, []byte("|")) {
			before := len(r.file)
			moved, err := r.take(peer, p)
			if err != nil || r.done {
				break
			}
			if len(r.file) > before && !moved {
				t.Error("a block was taken but not acknowledged")
			}
			if len(r.file)-before > max(r.blockSize, 0) {
				t.Errorf("%d bytes of a block of %d", len(r.file)-before, r.blockSize)
			}
		}
		if r.blockSize < 8 || r.blockSize > tftpBlksize {
			t.Errorf("blocks of %d", r.blockSize)
		}
	})
}

// FuzzFile reads any file as configuration and as boot file.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "#!version:1.0.0.1\r\naccount.1.enable = 1\r\naccount.1.user_name = 100\r\naccount.1.sip_server.1.port = 99999\r\n",
		"#!version:1.0.0.1\naccount.1.enable = %NULL%\n= \n=\n", "#!version:1.0.0.1\n[T42U,\ninclude:config \"a\"\n[T42U]\ninclude:config <>\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range parseBoot(data, "T42U") {
			if name == "" || strings.ContainsFunc(name, unicode.IsControl) {
				t.Errorf("includes %q", name)
			}
		}
		s, err := parseSettings(data)
		if err != nil {
			return
		}
		for k, v := range s {
			if strings.TrimSpace(k) != k || strings.TrimSpace(v) != v || strings.ContainsAny(k+v, "\n") {
				t.Errorf("%q = %q", k, v)
			}
		}
		if a, ok := s.account(); ok && (a.user == "" || a.port == 0) {
			t.Errorf("account %+v", a)
		}
	})
}
