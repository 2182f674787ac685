package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// tftpServer sends a file to one client.
type tftpServer struct {
	*lan
	content []byte
	oack    string               // sent instead of the first block; empty: none
	block   int                  // bytes
	lose    func(sent int) bool  // whether the server's n-th packet, from 0, is lost
	deaf    func(taken int) bool // whether the client's n-th packet is
	twice   bool                 // packets arrive twice
	asked   []string
	errors  int // that the client sent
	taken   int
	sent    int
	at      int // block that was sent last, not wrapped
}

const transferPort = 40000

func newTFTPServer(t testing.TB, size int) *tftpServer {
	s := &tftpServer{
		lan: newLAN(t), content: bytes.Repeat([]byte("0123456789"), size/10+1)[:size], block: tftpBlock,
		lose: func(int) bool { return false }, deaf: func(int) bool { return false },
	}
	s.udp = func(_ mac, d datagram) {
		if n := s.taken; s.deaf(n) {
			s.taken++
			return
		}
		s.taken++
		s.handle(d)
	}
	return s
}

func (s *tftpServer) handle(d datagram) {
	switch op := binary.BigEndian.Uint16(d.payload); op {
	case opRead:
		s.asked = strings.Split(string(d.payload[2:]), "\x00")
		if s.oack != "" {
			s.packet(d, append([]byte{0, opOACK}, s.oack...))
		} else {
			s.data(d, 1)
		}
	case opAck:
		n := s.at&^0xffff | int(binary.BigEndian.Uint16(d.payload[2:]))
		if n > s.at {
			n -= 1 << 16
		}
		if n*s.block <= len(s.content) {
			s.data(d, n+1)
		}
	case opError:
		s.errors++
	}
}

func (s *tftpServer) data(d datagram, n int) {
	s.at = n
	from := min((n-1)*s.block, len(s.content))
	p := binary.BigEndian.AppendUint16([]byte{0, opData}, uint16(n))
	s.packet(d, append(p, s.content[from:min(from+s.block, len(s.content))]...))
}

func (s *tftpServer) packet(d datagram, p []byte) {
	n := s.sent
	s.sent++
	if s.lose(n) {
		return
	}
	src := netip.AddrPortFrom(serverAddr, transferPort)
	s.reply(phoneMAC, src, d.src, p)
	if s.twice {
		s.reply(phoneMAC, src, d.src, p)
	}
}

func (s *tftpServer) fetch(t *testing.T) ([]byte, error) {
	return s.plug().tftp(t.Context(), netip.AddrPortFrom(serverAddr, tftpPort), 1025, "001565000001.cfg")
}

func TestTFTP(t *testing.T) {
	lost := func(which ...int) func(int) bool { return func(n int) bool { return slices.Contains(which, n) } }
	for _, c := range []struct {
		name  string
		size  int
		setUp func(*tftpServer)
	}{
		{"empty", 0, nil},
		{"short", 100, nil},
		{"a whole block", tftpBlock, nil},
		{"blocks", 5000, nil},
		{"options", 5000, func(s *tftpServer) { s.oack, s.block = "blksize\x001428\x00tsize\x005000\x00", 1428 }},
		{"options in capitals", 5000, func(s *tftpServer) { s.oack, s.block = "BLKSIZE\x001024\x00", 1024 }},
		{"first request lost", 5000, func(s *tftpServer) { s.deaf = lost(0) }},
		{"acknowledgement lost", 5000, func(s *tftpServer) { s.deaf = lost(3) }},
		{"first answer lost", 5000, func(s *tftpServer) { s.lose = lost(0) }},
		{"block lost", 5000, func(s *tftpServer) { s.lose = lost(3, 5, 6) }},
		{"option answer lost", 5000, func(s *tftpServer) { s.oack, s.lose = "tsize\x005000\x00", lost(0) }},
		{"last block lost", 5000, func(s *tftpServer) { s.lose = lost(9) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTFTPServer(t, c.size)
				if c.setUp != nil {
					c.setUp(s)
				}
				got, err := s.fetch(t)
				if err != nil || !bytes.Equal(got, s.content) {
					t.Errorf("%d bytes, %v, want %d", len(got), err, len(s.content))
				}
				if want := []string{"001565000001.cfg", "octet", "blksize", "1428", "tsize", "0", ""}; !slices.Equal(s.asked, want) {
					t.Errorf("asked %q, want %q", s.asked, want)
				}
			})
		})
	}
}

// What comes twice must not be in the file twice, and each copy is acknowledged.
func TestTFTPTakesDuplicatesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTFTPServer(t, 3000)
		s.oack, s.block = "tsize\x003000\x00", tftpBlock
		h := s.plug()
		transfer := newTFTPRead(netip.AddrPortFrom(serverAddr, tftpPort), "x")
		from := netip.AddrPortFrom(serverAddr, transferPort)
		for _, p := range []string{"\x00\x06tsize\x00" + "600\x00", "\x00\x06tsize\x00" + "600\x00"} {
			if moved, err := transfer.take(from, []byte(p)); !moved || err != nil || !bytes.Equal(transfer.send, []byte{0, 4, 0, 0}) {
				t.Errorf("OACK: %v, %v, to send %x", moved, err, transfer.send)
			}
		}
		block := append([]byte{0, opData, 0, 1}, make([]byte, tftpBlock)...)
		for range 2 {
			if moved, err := transfer.take(from, block); !moved || err != nil || !bytes.Equal(transfer.send, []byte{0, 4, 0, 1}) || len(transfer.file) != tftpBlock {
				t.Errorf("block: %v, %v, to send %x, file of %d bytes", moved, err, transfer.send, len(transfer.file))
			}
		}
		if moved, err := transfer.take(from, []byte{0, opData, 0, 3, 1}); moved || err != nil {
			t.Errorf("a block that is not due: %v, %v", moved, err)
		}
		s.twice = true
		got, err := h.tftp(t.Context(), netip.AddrPortFrom(serverAddr, tftpPort), 1025, "x")
		if err != nil || !bytes.Equal(got, s.content) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(s.content))
		}
	})
}

func TestTFTPBlockNumberWraps(t *testing.T) {
	s := newTFTPServer(t, 70000*8+3)
	s.oack, s.block = "blksize\x008\x00", 8
	got, err := s.fetch(t)
	if err != nil || !bytes.Equal(got, s.content) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(s.content))
	}
}

func TestTFTPErrors(t *testing.T) {
	for _, c := range []struct {
		name, packet, want string
		refused            bool
	}{
		{"not found", "\x00\x05\x00\x01File not found\x00", "error 1 File not found", true},
		{"no text", "\x00\x05\x00\x02\x00", "error 2", true},
		{"block too large", "\x00\x03\x00\x01" + strings.Repeat("x", tftpBlock+1), "block of 513 bytes", false},
		{"size is wrong", "\x00\x06tsize\x005\x00|\x00\x03\x00\x01four", "4 bytes, the TFTP server announced 5", false},
		{"block size too large", "\x00\x06blksize\x001429\x00", `blksize with "1429"`, false},
		{"block size no number", "\x00\x06blksize\x00x\x00", `blksize with "x"`, false},
		{"unknown option", "\x00\x06windowsize\x004\x00", `not asked for: "windowsize"`, false},
		{"too short", "\x00\x03\x00", "does not answer", false},
		{"silence", "", "does not answer", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLAN(t)
				answers := strings.Split(c.packet, "|")
				l.udp = func(_ mac, d datagram) {
					if len(answers) > 0 && answers[0] != "" {
						l.reply(phoneMAC, netip.AddrPortFrom(serverAddr, transferPort), d.src, []byte(answers[0]))
						answers = answers[1:]
					}
				}
				_, err := l.plug().tftp(t.Context(), netip.AddrPortFrom(serverAddr, tftpPort), 1025, "x")
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				if refused := new(refusal); errors.As(err, &refused) != c.refused {
					t.Errorf("%v: taken for a refusal: %v", err, !c.refused)
				}
			})
		})
	}
}

func TestTFTPGivesUpAfterItsTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTFTPServer(t, 10)
		s.deaf = func(int) bool { return true }
		start := time.Now()
		if _, err := s.fetch(t); err == nil {
			t.Error("no error")
		}
		if s.taken != tftpTries || time.Since(start) != tftpTries*tftpTime {
			t.Errorf("%d requests in %v", s.taken, time.Since(start))
		}
	})
}

// A second transfer that a repeated request began is ended, and its blocks do not count.
func TestTFTPSecondTransferIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTFTPServer(t, 2000)
		good := s.udp
		s.udp = func(m mac, d datagram) {
			good(m, d)
			if binary.BigEndian.Uint16(d.payload) == opAck {
				s.reply(phoneMAC, netip.AddrPortFrom(serverAddr, transferPort+1), d.src, []byte("\x00\x03\x00\x02other"))
			}
		}
		got, err := s.fetch(t)
		if err != nil || !bytes.Equal(got, s.content) || s.errors == 0 {
			t.Errorf("%d bytes, %v, %d errors sent, want %d bytes and errors", len(got), err, s.errors, len(s.content))
		}
	})
}

func TestLookup(t *testing.T) {
	const second = "192.168.1.2" // the resolver that answers; the first is silent
	answers := map[string]dnsmessage.Message{
		"pbx.example.":  {Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("pbx.example."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{10, 1, 2, 3}}}}},
		"none.example.": {Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}},
	}
	for name, want := range map[string]string{
		"pbx.example":            "10.1.2.3",
		"10.9.8.7":               "10.9.8.7",
		"::ffff:10.9.8.7":        "10.9.8.7",
		"none.example":           "none.example: the DNS server 192.168.1.2 knows no such address",
		"silent.example":         "silent.example: no DNS server answers (asked [192.168.1.1 192.168.1.2])",
		"fe80::1":                "fe80::1: these phones speak IPv4 only",
		strings.Repeat("a", 300): strings.Repeat("a", 300) + ": not a host name",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLAN(t)
			l.udp = func(_ mac, d datagram) {
				var q dnsmessage.Message
				if err := q.Unpack(d.payload); err != nil || len(q.Questions) != 1 || d.dst.Port() != dnsPort {
					t.Errorf("%v: %v", d.dst, err)
					return
				}
				m, ok := answers[q.Questions[0].Name.String()]
				if !ok || d.dst.Addr().String() != second {
					return
				}
				m.ID, m.Response = q.ID, true
				b, err := m.Pack()
				if err != nil {
					t.Error(err)
				}
				l.reply(phoneMAC, d.dst, d.src, []byte("not DNS"))
				l.reply(phoneMAC, d.dst, d.src, b)
			}
			h := l.plug()
			h.learn(netip.MustParseAddr(second), serverMAC)
			got, err := h.lookup(t.Context(), []netip.Addr{serverAddr, netip.MustParseAddr(second)}, 1025, name)
			text := got.String()
			if err != nil {
				text = err.Error()
			}
			if text != want {
				t.Errorf("%s: %s, want %s", name, text, want)
			}
		})
	}
	if _, err := newLAN(t).plug().lookup(t.Context(), nil, 1025, "pbx.example"); err == nil || !strings.Contains(fmt.Sprint(err), "no DNS server") {
		t.Errorf("without a resolver: %v", err)
	}
}
