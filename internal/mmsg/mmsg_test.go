package mmsg

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// open returns a socket on the loopback, and its address.
func open(t *testing.T) (syscall.RawConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Packets come as they were sent, whole, from where they were sent, in one piece or two.
func TestPackets(t *testing.T) {
	a, from := open(t)
	b, to := open(t)
	out, in := NewUDP4(8), NewUDP4(8)
	in.MakeRoom(2000)
	rests := []string{"", "x", strings.Repeat("long", 300), ""}
	for round := range 2 { // what is left of the first must not show in the second
		for i := range rests {
			out.PutTo(i, to, []byte{byte('0' + i)}, []byte(rests[(i+round)%len(rests)]))
		}
		if n, err := out.Send(a, len(rests)); n != len(rests) || err != nil {
			t.Fatalf("%d sent: %v", n, err)
		}
		for got := 0; got < len(rests); {
			n, err := in.Receive(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if want := string(rune('0'+got)) + rests[(got+round)%len(rests)]; string(in.Packet(i)) != want || in.From(i) != from {
					t.Errorf("%.9q of %d bytes from %v, want %.9q of %d from %v", in.Packet(i), len(in.Packet(i)), in.From(i), want, len(want), from)
				}
				got++
			}
		}
	}
	if out.Calls() != 2 {
		t.Errorf("%d system calls to send twice", out.Calls())
	}
}

// A packet that cannot leave keeps no other one back.
func TestOneThatCannotBeSent(t *testing.T) {
	a, _ := open(t)
	b, to := open(t)
	out, in := NewUDP4(3), NewUDP4(3)
	in.MakeRoom(100)
	for i, to := range []netip.AddrPort{to, netip.AddrPortFrom(to.Addr(), 0), to} { // nobody is at port 0
		out.PutTo(i, to, []byte{byte('0' + i)}, nil)
	}
	if n, err := out.Send(a, 3); n != 2 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("%d sent: %v", n, err)
	}
	var got string
	for len(got) < 2 {
		n, err := in.Receive(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			got += string(in.Packet(i))
		}
	}
	if got != "02" {
		t.Errorf("came: %q", got)
	}
	_ = b.Control(func(fd uintptr) {
		if _, err := in.ReceiveNow(int(fd)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("nothing is there: %v", err)
		}
	})
}
