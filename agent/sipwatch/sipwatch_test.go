package sipwatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

const accepted = "SIP/2.0 200 OK\r\n" +
	"Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bK1\r\n" +
	"From: <sip:100@192.168.1.1>;tag=1\r\nTo: <sip:100@192.168.1.1>;tag=2\r\nCall-ID: a@b\r\nCSeq: 2 REGISTER\r\n" +
	"Contact: <sip:100@192.168.1.20:5060>;expires=600\r\nContent-Length: 0\r\n\r\n"

// frame puts a payload into Ethernet, IPv4 and UDP; only what parse reads is filled in.
func frame(payload string) []byte {
	f := make([]byte, ethLen+20+udpLen, ethLen+20+udpLen+len(payload))
	f[ethLen] = 0x45
	copy(f[ethLen+16:], []byte{192, 168, 1, 20})
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	return append(f, payload...)
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		ok    bool
	}{
		"accepted":        {frame(accepted), true},
		"a challenge":     {frame(strings.Replace(accepted, "200 OK", "401 Unauthorized", 1)), false},
		"another method":  {frame(strings.Replace(accepted, "REGISTER", "OPTIONS", 1)), false},
		"unregistered":    {frame(strings.Replace(accepted, "expires=600", "expires=0", 1)), false},
		"no contact left": {frame(strings.Replace(accepted, "Contact: <sip:100@192.168.1.20:5060>;expires=600\r\n", "", 1)), false},
		"a request":       {frame("REGISTER sip:192.168.1.1 SIP/2.0\r\n\r\n"), false},
		"cut off":         {frame(accepted)[:60], false},
		"nothing":         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, ok := parse(c.frame)
			if ok != c.ok || ok && r != (Registration{netip.MustParseAddr("192.168.1.20"), "100"}) {
				t.Errorf("%+v %t", r, ok)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(accepted))
	f.Add(frame("SIP/2.0 200 OK\r\nCSeq: x\r\nContact: *\r\n\r\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := parse(b); ok && !r.Client.Is4() {
			t.Errorf("%+v", r)
		}
	})
}

// datagram returns an IPv4 packet with a UDP datagram, without checksums: no stack reads it.
func datagram(from, to netip.AddrPort, text string) []byte {
	p := make([]byte, 20+udpLen, 20+udpLen+len(text))
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(udpLen+len(text)))
	return append(p, text...)
}

// sendFrame sends a packet of any sender's to a station.
func sendFrame(ifname string, to net.HardwareAddr, p []byte) error {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	conn, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.WriteTo(p, &packet.Addr{HardwareAddr: to})
	return err
}

// What the exchange sends is seen as it leaves; what others send, in its name too, or
// from another port, is not.
func TestWatch(t *testing.T) {
	l := labtest.New(t)
	server, phone := l.Host("server"), l.Host("phone")
	l.Connect(server, "ens34", phone, "eth0")
	server.Addr("ens34", "192.168.1.1/24")
	phone.Addr("eth0", "192.168.1.20/24")
	seen := make(chan Registration, 10)
	w := New(Config{Interface: "ens34", Server: netip.MustParseAddrPort("192.168.1.1:5060")}, func(r Registration) { seen <- r })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Host.Do(func() error { return w.Run(ctx) }) }()
	send := func(h *labtest.Host, from, to, text string) {
		h.Do(func() error {
			conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte(text))
			return err
		})
	}
	forge := func(text string) {
		phone.Do(func() error {
			return sendFrame("eth0", server.MAC("ens34"), datagram(netip.MustParseAddrPort("192.168.1.1:5060"), netip.MustParseAddrPort("192.168.1.20:5060"), text))
		})
	}
	labtest.Eventually(t, func() error {
		send(server, "192.168.1.1:5061", "192.168.1.20:5060", strings.ReplaceAll(accepted, "sip:100@", "sip:666@"))
		send(phone, "192.168.1.20:5060", "192.168.1.1:5060", strings.ReplaceAll(accepted, "sip:100@", "sip:667@"))
		forge(strings.ReplaceAll(accepted, "sip:100@", "sip:668@"))
		send(server, "192.168.1.1:5060", "192.168.1.20:5060", accepted)
		select {
		case r := <-seen:
			if r != (Registration{netip.MustParseAddr("192.168.1.20"), "100"}) {
				t.Fatalf("seen: %+v", r)
			}
			return nil
		default:
			return fmt.Errorf("nothing was seen")
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
