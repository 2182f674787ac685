package dhcpd_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// stations is a port of the switch where any number of stations sends frames, each
// with its own MAC or a borrowed one.
type stations struct {
	t    *testing.T
	conn *packet.Conn
}

func newStations(t *testing.T, h *labtest.Host) *stations {
	s := &stations{t: t}
	answers, err := bpf.Assemble([]bpf.Instruction{ // what others send must not fill the buffer
		bpf.LoadAbsolute{Off: 34, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipFalse: 1},
		bpf.RetConstant{Val: 2048},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if s.conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, &packet.Config{Filter: answers}); err != nil {
			return err
		}
		return s.conn.SetPromiscuous(true)
	})
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// send broadcasts a client's message in a frame of the station's.
func (s *stations) send(station, client net.HardwareAddr, src netip.Addr, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) {
	s.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(client), dhcpv4.WithMessageType(mt)}, mods...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	msg := m.ToBytes()
	f := make([]byte, 42, 42+len(msg)) // Ethernet, IPv4 and UDP, the latter without checksum
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(f[6:], station)
	f[12], f[14], f[22], f[23] = 0x08, 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(f[16:], uint16(28+len(msg)))
	copy(f[26:], src.AsSlice())
	copy(f[30:], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum>>16+sum))
	f[35], f[37] = 68, 67
	binary.BigEndian.PutUint16(f[38:], uint16(8+len(msg)))
	if _, err := s.conn.WriteTo(append(f, msg...), &packet.Addr{HardwareAddr: f[:6]}); err != nil {
		s.t.Fatal(err)
	}
}

// answer returns the next answer on this port and the station that it is for.
func (s *stations) answer(wait time.Duration) (net.HardwareAddr, *dhcpv4.DHCPv4) {
	s.t.Helper()
	buf := make([]byte, 2048)
	_ = s.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return nil, nil
		}
		if n < 42 || buf[23] != unix.IPPROTO_UDP {
			continue
		}
		m, err := dhcpv4.FromBytes(buf[42:n])
		if err != nil {
			s.t.Fatal(err)
		}
		return net.HardwareAddr(append([]byte(nil), buf[:6]...)), m
	}
}

// boot lets phones go through all four messages, each from its own MAC, and returns
// how many have an address. Who hears nothing asks once more, as phones do after 4 s: a frame may be lost where a flood
// has filled the kernel's queue.
func (s *stations) boot(phones []net.HardwareAddr) int {
	s.t.Helper()
	any4 := netip.IPv4Unspecified()
	for _, m := s.answer(time.Millisecond); m != nil; _, m = s.answer(time.Millisecond) {
		continue // broadcast to others before
	}
	served := make(map[string]bool)
	discover := func() {
		for _, p := range phones {
			if !served[p.String()] {
				s.send(p, p, any4, dhcpv4.MessageTypeDiscover)
			}
		}
	}
	discover()
	for repeated := false; len(served) < len(phones); {
		to, m := s.answer(3 * time.Second)
		if m == nil {
			if repeated {
				break
			}
			repeated = true
			discover()
			continue
		}
		if m.MessageType() == dhcpv4.MessageTypeNak {
			continue // broadcast to others, and late
		}
		if to.String() != m.ClientHWAddr.String() {
			s.t.Errorf("an answer to %v went to %v", m.ClientHWAddr, to)
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeOffer:
			s.send(to, to, any4, dhcpv4.MessageTypeRequest,
				dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(m.YourIPAddr)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(m.ServerIdentifier())))
		case dhcpv4.MessageTypeAck:
			served[to.String()] = true
		}
	}
	return len(served)
}

// phoneMACs are the MACs of n configured phones.
func phoneMACs(n int) (all []net.HardwareAddr) {
	for i := range n {
		all = append(all, hw(fmt.Sprintf("00:15:65:00:%02x:%02x", i>>8, i&255)))
	}
	return all
}

// answerPatience is how long a test waits for an answer that must come.
const answerPatience = 10 * time.Second
