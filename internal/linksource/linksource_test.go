package linksource

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

var (
	serverAddr = netip.MustParseAddrPort("192.168.1.1:69")
	phoneAddr  = netip.MustParseAddrPort("192.168.1.20:2000")
)

// lan is a server on ens34, with a phone and a thief on the same switch.
func lan(t *testing.T) (server, phone, thief *labtest.Host) {
	l := labtest.New(t)
	sw := l.Switch("switch")
	server, phone, thief = l.Host("server"), l.Host("phone"), l.Host("thief")
	sw.Plug(server, "ens34")
	sw.Plug(phone, "eth0")
	sw.Plug(thief, "eth0")
	server.Addr("ens34", "192.168.1.1/24")
	phone.Addr("eth0", "192.168.1.20/24")
	return server, phone, thief
}

func stationOf(h *labtest.Host) MAC { return MAC(h.MAC("eth0")) }

// receiver is a UDP socket on port 69 with a tap beside it.
type receiver struct {
	t    *testing.T
	conn *net.UDPConn
	tap  *Tap
}

func listen(t *testing.T, server *labtest.Host) *receiver {
	r := &receiver{t: t}
	server.Do(func() (err error) {
		if r.tap, err = Open("ens34", serverAddr.Port()); err != nil {
			return err
		}
		r.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(serverAddr))
		return err
	})
	t.Cleanup(func() { _ = r.conn.Close(); _ = r.tap.Close() })
	return r
}

// next returns the stations of the next datagram.
func (r *receiver) next() (netip.AddrPort, []MAC) {
	r.t.Helper()
	_, from, err := r.conn.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		r.t.Fatal(err)
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if err := r.tap.Refresh(); err != nil {
		r.t.Fatal(err)
	}
	return from, r.tap.Take(from)
}

func send(h *labtest.Host, from netip.AddrPort, text string) {
	h.Do(func() error {
		conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(serverAddr))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		return err
	})
}

// forge sends a datagram in a frame that says anything.
func forge(t *testing.T, h *labtest.Host, from netip.AddrPort, src, dst net.HardwareAddr, tag []byte) {
	t.Helper()
	f := append(append(bytes.Clone(dst), src...), tag...)
	f = append(f, 8, 0)
	p := make([]byte, 28, 29)
	p[0], p[3], p[8], p[9] = 0x45, 29, 64, unix.IPPROTO_UDP
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], serverAddr.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum&0xffff))
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], serverAddr.Port())
	p[25] = 9
	f = append(append(f, p...), 'x')
	h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.WriteTo(f, &packet.Addr{HardwareAddr: dst})
		return err
	})
}

func expect(t *testing.T, what string, got []MAC, want ...MAC) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: sent by %v, want %v", what, got, want)
	}
}

// The source of a datagram's own frame is told, whoever has its address.
func TestTap(t *testing.T) {
	server, phone, thief := lan(t)
	r := listen(t, server)
	send(phone, phoneAddr, "x")
	_, got := r.next()
	expect(t, "the phone", got, stationOf(phone))
	expect(t, "asked twice", r.tap.Take(phoneAddr))

	// The phone is unplugged, and another station takes its address and answers no ARP.
	phone.Down("eth0")
	thief.Sysctl("net.ipv4.conf.all.arp_ignore", "8")
	thief.Addr("eth0", phoneAddr.String()[:len("192.168.1.20")]+"/24")
	send(thief, phoneAddr, "x")
	_, got = r.next()
	expect(t, "who took its address", got, stationOf(thief))
}

// What is counted here is what a storm of phones costs: the requests that are read together take their frames in
// together.
func TestWorkOfATap(t *testing.T) {
	server, phone, _ := lan(t)
	r := listen(t, server)
	for i := range batchSize + 1 {
		send(phone, netip.AddrPortFrom(phoneAddr.Addr(), phoneAddr.Port()+uint16(i)), "x")
	}
	for range batchSize + 1 { // the frames are there, too
		if _, _, err := r.conn.ReadFromUDPAddrPort(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	before := r.tap.in.Calls()
	if err := r.tap.Refresh(); err != nil {
		t.Fatal(err)
	}
	if calls := r.tap.in.Calls() - before; calls != 2 {
		t.Errorf("%d system calls for %d frames", calls, batchSize+1)
	}
	for i := range batchSize + 1 {
		expect(t, "a request", r.tap.Take(netip.AddrPortFrom(phoneAddr.Addr(), phoneAddr.Port()+uint16(i))), stationOf(phone))
	}
}

// Two stations that send in one's name are both told.
func TestTapOfTwoStations(t *testing.T) {
	server, phone, thief := lan(t)
	r := listen(t, server)
	forge(t, thief, phoneAddr, thief.MAC("eth0"), server.MAC("ens34"), nil)
	send(phone, phoneAddr, "x")
	labtest.Eventually(t, func() error { // both frames are there
		if err := r.tap.Refresh(); err != nil {
			t.Fatal(err)
		}
		if len(r.tap.newer[phoneAddr]) != 2 {
			return fmt.Errorf("seen: %v", r.tap.newer)
		}
		return nil
	})
	_, got := r.next()
	expect(t, "the first", got, stationOf(thief), stationOf(phone))
}

// What the IP layer does not get through this card is no evidence: frames of a VLAN on
// the same cable, for other stations, and the server's own.
func TestTapLeavesOutWhatIsOthers(t *testing.T) {
	server, phone, thief := lan(t)
	r := listen(t, server)
	server.Do(func() error {
		ifi, err := net.InterfaceByName("ens34")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn.SetPromiscuous(true)
	})
	forge(t, thief, phoneAddr, thief.MAC("eth0"), server.MAC("ens34"), []byte{0x81, 0, 0, 10})
	forge(t, thief, phoneAddr, thief.MAC("eth0"), net.HardwareAddr{2, 0, 0, 0, 0, 9}, nil)
	send(server, netip.MustParseAddrPort("192.168.1.1:2000"), "x")
	if from, got := r.next(); from.Addr() != serverAddr.Addr() || got != nil {
		t.Errorf("this machine itself: %v from %v", got, from)
	}
	send(phone, phoneAddr, "x")
	_, got := r.next()
	expect(t, "the phone", got, stationOf(phone))
	// A priority without a VLAN is the link's own.
	forge(t, thief, phoneAddr, thief.MAC("eth0"), server.MAC("ens34"), []byte{0x81, 0, 0xe0, 0})
	_, got = r.next()
	expect(t, "with a priority", got, stationOf(thief))
}

// A card that is set down and up again goes on; one that is gone is an error.
func TestTapOfCardThatGoes(t *testing.T) {
	server, phone, _ := lan(t)
	r := listen(t, server)
	server.Down("ens34")
	server.Up("ens34")
	send(phone, phoneAddr, "x")
	_, got := r.next()
	expect(t, "the phone", got, stationOf(phone))
	server.Down("ens34")
	if err := r.tap.Refresh(); err != nil {
		t.Errorf("set down: %v", err)
	}
	server.Run("ip", "link", "del", "ens34")
	if err := r.tap.Refresh(); err == nil {
		t.Error("no error")
	}
}

// Senders are forgotten in time, the latest last.
func TestTapIsBounded(t *testing.T) {
	tap := &Tap{newer: make(map[netip.AddrPort][]MAC), older: make(map[netip.AddrPort][]MAC)}
	last := netip.AddrPort{}
	for i := range 5 * keep {
		last = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		tap.note(last, MAC{1})
	}
	if n := len(tap.newer) + len(tap.older); n > 2*keep {
		t.Errorf("%d senders are kept", n)
	}
	expect(t, "the last one", tap.Take(last), MAC{1})
}

// The station that opened a connection is told, over TLS's connections too.
func TestStation(t *testing.T) {
	server, phone, thief := lan(t)
	var l net.Listener
	server.Do(func() (err error) {
		lc := net.ListenConfig{Control: SaveSYN}
		l, err = lc.Listen(t.Context(), "tcp4", "192.168.1.1:9303")
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	open := func(h *labtest.Host, from string) (MAC, error) {
		h.Do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			conn, err := d.DialContext(t.Context(), "tcp4", "192.168.1.1:9303")
			if err == nil {
				t.Cleanup(func() { _ = conn.Close() })
			}
			return err
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return Station(TCPConn(wrapped{conn}), conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	}
	if mac, err := open(phone, "192.168.1.20"); err != nil || mac != stationOf(phone) {
		t.Errorf("the phone: %v, %v", mac, err)
	}
	phone.Down("eth0")
	thief.Addr("eth0", "192.168.1.20/24")
	server.Run("ip", "neigh", "flush", "dev", "ens34")
	if mac, err := open(thief, "192.168.1.20"); err != nil || mac != stationOf(thief) {
		t.Errorf("who took its address: %v, %v", mac, err)
	}
	if _, err := open(server, "192.168.1.1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("this machine itself: %v", err)
	}
}

// wrapped is a connection like TLS's.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestNeighbour(t *testing.T) {
	server, phone, _ := lan(t)
	ask := func(ifname string, addr string) (mac MAC, err error) {
		server.Do(func() error {
			mac, err = Neighbour(ifname, netip.MustParseAddr(addr))
			conn, cerr := net.ListenUDP("udp4", nil)
			if cerr != nil {
				return cerr
			}
			defer conn.Close()
			raw, cerr := conn.SyscallConn()
			if cerr != nil {
				return cerr
			}
			if m, e := NeighbourBy(raw, ifname, netip.MustParseAddr(addr)); m != mac || !errors.Is(e, err) {
				t.Errorf("by a socket that is there: %v, %v; else %v, %v", m, e, mac, err)
			}
			return nil
		})
		return mac, err
	}
	if _, err := ask("ens34", "192.168.1.20"); !errors.Is(err, ErrUnknown) {
		t.Errorf("before: %v", err)
	}
	phone.Run("ping", "-c1", "192.168.1.1")
	if mac, err := ask("ens34", "192.168.1.20"); err != nil || mac != stationOf(phone) {
		t.Errorf("%v, %v", mac, err)
	}
	for _, c := range [][2]string{{"ens34", "192.168.1.21"}, {"nothing", "192.168.1.20"}, {"ens34", "fe80::1"}} {
		if _, err := ask(c[0], c[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0x45}, snapLen))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		parseUDP(b)
		parseSYN(b, phoneAddr.Addr())
	})
}
