package tftpd_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
	"github.com/sae-agent/sae-agent/tftpd"
)

// request sends a request with options.
func (p *peer) request(name string, options ...string) {
	p.t.Helper()
	m := "\x00\x01" + strings.Join(append([]string{name, "octet"}, options...), "\x00") + "\x00"
	if _, err := p.conn.WriteToUDPAddrPort([]byte(m), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// expect receives a packet that begins so, and says where it came from.
func (p *peer) expect(begin string) netip.AddrPort {
	p.t.Helper()
	data, from := p.receive(10 * time.Second)
	if !strings.HasPrefix(string(data), begin) {
		p.t.Fatalf("got %.30q, want %q", data, begin)
	}
	return from
}

// abort tells the server that the client has given up.
func (p *peer) abort(to netip.AddrPort) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte("\x00\x05\x00\x00TFTP Aborted\x00"), to); err != nil {
		p.t.Fatal(err)
	}
}

const (
	data1 = "\x00\x03\x00\x01"
	data2 = "\x00\x03\x00\x02"
	data3 = "\x00\x03\x00\x03"
)

// A client that always sends from one port, as many small devices do, gets what it asks
// for at once, whatever became of its last request. The server never sends anything
// again by itself here, so that an answer is one to the request.
func TestClientWithOnePort(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
	}{{"small", 3000}, {"large", 100_000}} {
		t.Run(c.name, func(t *testing.T) {
			body := strings.Repeat("x", c.size)
			s, seen := start(t, tftpd.Config{Timeout: time.Hour}, files(map[string]string{"a": body, "b": "y"}))
			p := newPeer(t, s)

			p.request("a", "tsize", "0") // it wants to know the size only
			p.abort(p.expect("\x00\x06tsize\x00" + strconv.Itoa(c.size)))
			seen.wait(t, tftpd.Failed, 1)
			p.request("a")
			from := p.expect(data1)
			p.ack(from, 1)
			p.ack(p.expect(data2), 2)
			p.expect(data3)

			p.request("a") // it was reset in the middle
			p.ack(p.expect(data1), 1)
			p.expect(data2)
			seen.wait(t, tftpd.Failed, 2)

			p.request("b") // it was reset, and asks for something else
			p.ack(p.expect(data1+"y"), 1)
			seen.wait(t, tftpd.Served, 1)
			seen.wait(t, tftpd.Failed, 3)
			p.request("b") // the same again, right after it had it
			p.ack(p.expect(data1+"y"), 1)
			seen.wait(t, tftpd.Served, 2)

			p.request("a")
			p.expect(data1)
			p.request("a", "blksize", "1024") // another request, before anything was acknowledged
			p.abort(p.expect("\x00\x06blksize\x00"))
			seen.wait(t, tftpd.Failed, 5)
			if data, _ := p.receive(50 * time.Millisecond); data != nil {
				t.Errorf("the client's error is answered: %q", data)
			}
			if n := seen.count(tftpd.Repeated); n != 0 {
				t.Errorf("%d requests were taken for repetitions", n)
			}
		})
	}
}

// A client that repeats itself because it heard nothing is sent the first packet again, not at every time.
func TestRepetitionIsAnswered(t *testing.T) {
	s, seen := start(t, tftpd.Config{Timeout: 2 * time.Second}, files(map[string]string{"a": "x"}))
	p := newPeer(t, s)
	p.request("a")
	p.expect(data1)
	labtest.Eventually(t, func() error {
		p.request("a")
		if data, _ := p.receive(20 * time.Millisecond); string(data) != data1+"x" {
			return fmt.Errorf("got %q", data)
		}
		return nil
	})
	if seen.count(tftpd.Repeated) == 0 {
		t.Error("no repetition")
	}
}

// Who never acknowledges anything is given up after three packets, however often others are tried.
func TestSilentClientIsGivenUpEarly(t *testing.T) {
	for name, size := range map[string]int64{"small": 1, "large": 100_000, "unknown": -1} {
		t.Run(name, func(t *testing.T) {
			s, seen := start(t, tftpd.Config{Timeout: 10 * time.Millisecond, Retries: 1000}, source(func(tftpd.Request) (*tftpd.File, error) {
				return &tftpd.File{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", 100_000))), Size: size}, nil
			}))
			p := newPeer(t, s)
			p.request("a")
			seen.wait(t, tftpd.Failed, 1)
			for i := range 3 {
				if data, _ := p.receive(time.Second); data == nil {
					t.Errorf("sent %d times", i)
				}
			}
			if data, _ := p.receive(50 * time.Millisecond); data != nil {
				t.Errorf("a fourth packet: %.20q", data)
			}
		})
	}
}

// Clients that nobody knows leave room for the others.
func TestPlacesAreKept(t *testing.T) {
	known := netip.MustParseAddr("127.0.0.9")
	seen := new(transfers)
	s := run(t, tftpd.Config{Timeout: time.Hour, MaxTransfers: 8}, files(map[string]string{"a": "x"}), tftpd.Options{
		OnTransfer: seen.add, Known: func(r tftpd.Request) bool { return r.Client.Addr() == known },
	})
	for range 5 {
		newPeer(t, s).request("a")
	}
	seen.wait(t, tftpd.OverLimit, 3)
	for range 6 {
		p := newPeerAt(t, s, known)
		p.request("a")
		p.expect(data1 + "x")
	}
	newPeerAt(t, s, known).request("a")
	seen.wait(t, tftpd.OverLimit, 4)
}

// Answers to clients whom nobody has heard of are few, since they wait for ARP.
func TestStrangersAreSlowedDown(t *testing.T) {
	seen := new(transfers)
	s := run(t, tftpd.Config{}, files(nil), tftpd.Options{OnTransfer: seen.add, Known: func(tftpd.Request) bool { return false }})
	p := newPeer(t, s)
	for range 1000 {
		p.request("nosuch")
	}
	labtest.Eventually(t, func() error {
		if n := seen.ended(); n < 1000 {
			return fmt.Errorf("%d requests have ended", n)
		}
		return nil
	})
	if n := seen.ended() - seen.count(tftpd.OverLimit); n < 100 || n > 500 {
		t.Errorf("%d were let through", n)
	}
}

// Requests in the names of addresses that nobody has cost no memory, and the next client
// is served: nothing waits for ARP.
func TestForgedSenders(t *testing.T) {
	t.Parallel()
	phone, _ := appliance(t)
	server := net.HardwareAddr(nil)
	labtest.Eventually(t, func() error {
		out := phone.Run("ip", "neigh", "show", "192.168.1.1")
		for _, w := range strings.Fields(out) {
			if m, err := net.ParseMAC(w); err == nil {
				server = m
				return nil
			}
		}
		return fmt.Errorf("no MAC: %s", out)
	})
	phone.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_IP, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for i := range 5000 {
			for _, file := range []string{"missing", "001565aabbcc.cfg", "T42U.rom"} {
				p := datagram(netip.AddrFrom4([4]byte{192, 168, 1, byte(3 + i%250)}), uint16(1024+i), "\x00\x01"+file+"\x00octet\x00")
				if _, err := conn.WriteTo(p, &packet.Addr{HardwareAddr: server}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	// Clients repeat themselves; this one does so by hand, to see that it is soon enough.
	labtest.Eventually(t, func() error {
		return phone.Command("curl", "-sSf", "--max-time", "5", "-o", "/run/got", "tftp://192.168.1.1/goroutines").Run()
	})
	if n, err := strconv.Atoi(strings.TrimSpace(phone.Run("cat", "/run/got"))); err != nil || n > 1500 {
		t.Errorf("%d goroutines, %v", n, err)
	}
}

// datagram is a UDP datagram for the server's port 69, without a checksum of its own.
func datagram(from netip.Addr, port uint16, text string) []byte {
	p := make([]byte, 28, 28+len(text))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], []byte{192, 168, 1, 1})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum&0xffff))
	binary.BigEndian.PutUint16(p[20:], port)
	binary.BigEndian.PutUint16(p[22:], 69)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(text)))
	return append(p, text...)
}

// Without descriptors left, requests are refused, and leave nothing behind.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	phone, _ := appliance(t)
	phone.Run("curl", "-sSf", "-o", "/run/got", "tftp://192.168.1.1/no-descriptors")
	for range 17 { // one more than a client has places
		if out, err := phone.Command("curl", "-sS", "-o", "/run/got", "tftp://192.168.1.1/on-disk.rom").CombinedOutput(); err == nil {
			t.Fatalf("a file was opened: %s", out)
		}
	}
	phone.Run("curl", "-sSf", "--tftp-blksize", "1428", "-o", "/run/got", "tftp://192.168.1.1/T42U-from-memory")
	phone.Run("curl", "-sSf", "-o", "/run/got", "tftp://192.168.1.1/descriptors")
	phone.Run("curl", "-sSf", "-o", "/run/got", "tftp://192.168.1.1/on-disk.rom")
	if n := phone.Run("stat", "-c", "%s", "/run/got"); strings.TrimSpace(n) != "200000" {
		t.Errorf("%s bytes", n)
	}
}

// A file that fails in the middle is told to the client, and ends its transfer.
func TestUnreadableFile(t *testing.T) {
	for name, size := range map[string]int64{"large": 100_000, "unknown": -1} {
		t.Run(name, func(t *testing.T) {
			s, seen := start(t, tftpd.Config{Timeout: time.Hour}, source(func(tftpd.Request) (*tftpd.File, error) {
				r := io.MultiReader(strings.NewReader(strings.Repeat("x", 512)), failing{})
				return &tftpd.File{ReadCloser: io.NopCloser(r), Size: size}, nil
			}))
			p := newPeer(t, s)
			p.request("a")
			p.ack(p.expect(data1), 1)
			p.expect("\x00\x05")
			seen.wait(t, tftpd.Failed, 1)
		})
	}
}

// A client waits for a slow disk, and is sent nothing again meanwhile; who comes after it does not wait.
func TestSlowDisk(t *testing.T) {
	slow, disk := io.Pipe()
	s, seen := start(t, tftpd.Config{Timeout: 10 * time.Millisecond}, source(func(r tftpd.Request) (*tftpd.File, error) {
		if r.Name != "slow" {
			return content("y"), nil
		}
		return &tftpd.File{ReadCloser: slow, Size: 100_000}, nil
	}))
	part := bytes.Repeat([]byte("x"), 16<<10)
	p, other := newPeer(t, s), newPeer(t, s)
	p.request("slow")
	if _, err := disk.Write(part); err != nil {
		t.Fatal(err)
	}
	for block := byte(1); block <= 32; block++ {
		p.ackWhenComes(block)
	}
	other.request("fast")
	other.ack(other.expect(data1+"y"), 1)
	seen.wait(t, tftpd.Served, 1)
	if _, err := disk.Write(part[:100]); err != nil {
		t.Fatal(err)
	}
	_ = disk.Close()
	p.ackWhenComes(33)
	seen.wait(t, tftpd.Served, 2)
}

// ackWhenComes acknowledges a block; one that came before may come again.
func (p *peer) ackWhenComes(block byte) {
	p.t.Helper()
	for {
		data, from := p.receive(10 * time.Second)
		if len(data) < 4 || data[1] != 3 {
			p.t.Fatalf("got %.20q, want block %d", data, block)
		}
		if data[3] == block {
			p.ack(from, block)
			return
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, fmt.Errorf("the disk is gone") }
