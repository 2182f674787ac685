package dhcpd_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// relay speaks for many clients at once, as a relay agent (RFC 2131 4.1).
type relay struct {
	t     *testing.T
	conn  *net.UDPConn
	addr  netip.Addr
	to    *net.UDPAddr
	given map[netip.Addr]string // acknowledged addresses and whose they are
}

func newRelay(t *testing.T, h *labtest.Host, addr, server string) *relay {
	r := &relay{t: t, addr: ip(addr), to: &net.UDPAddr{IP: net.ParseIP(server), Port: 67}, given: make(map[netip.Addr]string)}
	h.Do(func() (err error) {
		r.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(addr), Port: 67})
		return err
	})
	t.Cleanup(func() { _ = r.conn.Close() })
	_ = r.conn.SetReadBuffer(8 << 20)
	return r
}

// clientMAC is the MAC of the n-th client.
func clientMAC(n int) net.HardwareAddr {
	return net.HardwareAddr(binary.BigEndian.AppendUint32([]byte{2, 0}, uint32(n)))
}

func (r *relay) send(m net.HardwareAddr, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) {
	r.t.Helper()
	d, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(m), dhcpv4.WithMessageType(mt), dhcpv4.WithGatewayIP(r.addr.AsSlice()),
	}, mods...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.WriteToUDP(d.ToBytes(), r.to); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Log("send:", err) // the server is being killed
	}
}

// receive returns the next answer, or nil when none comes in time.
func (r *relay) receive(wait time.Duration) *dhcpv4.DHCPv4 {
	buf := make([]byte, 2048)
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		n, err := r.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			continue // port unreachable, while the server is down
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			r.t.Fatalf("answer: %v", err)
		}
		return m
	}
}

// boot lets clients go through all four messages; it ends when all have an address, when enough have, or when nothing was
// heard for a while, though who has no address asks again as clients do. An address that two clients were given is an error.
func (r *relay) boot(first, count, enough int) int {
	r.t.Helper()
	served := make(map[string]bool)
	for range 3 {
		for i := range count {
			if m := clientMAC(first + i); !served[m.String()] {
				r.send(m, dhcpv4.MessageTypeDiscover)
			}
		}
		for m := r.receive(3 * time.Second); m != nil; m = r.receive(3 * time.Second) {
			switch m.MessageType() {
			case dhcpv4.MessageTypeOffer:
				r.send(m.ClientHWAddr, dhcpv4.MessageTypeRequest,
					dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(m.YourIPAddr)),
					dhcpv4.WithOption(dhcpv4.OptServerIdentifier(m.ServerIdentifier())))
			case dhcpv4.MessageTypeAck:
				r.note(m)
				served[m.ClientHWAddr.String()] = true
			}
			if len(served) >= min(count, enough) {
				return len(served)
			}
		}
	}
	return len(served)
}

func (r *relay) note(m *dhcpv4.DHCPv4) {
	r.t.Helper()
	addr := netip.AddrFrom4([4]byte(m.YourIPAddr.To4()))
	if owner := r.given[addr]; owner != "" && owner != m.ClientHWAddr.String() {
		r.t.Errorf("%v was given to %s and to %v", addr, owner, m.ClientHWAddr)
	}
	r.given[addr] = m.ClientHWAddr.String()
}

// ask sends one message and returns the answer to it.
func (r *relay) ask(m net.HardwareAddr, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	r.t.Helper()
	r.send(m, mt, mods...)
	for {
		got := r.receive(time.Second)
		if got == nil || got.ClientHWAddr.String() == m.String() {
			return got
		}
	}
}

// confirm has the client ask for its address after a reboot.
func (r *relay) confirm(addr netip.Addr, m net.HardwareAddr) error {
	got := r.ask(m, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice())))
	if got == nil {
		return fmt.Errorf("%v: no answer about %v", m, addr)
	}
	if got.MessageType() != dhcpv4.MessageTypeAck || !got.YourIPAddr.Equal(addr.AsSlice()) {
		return fmt.Errorf("%v: asked for %v, got %v", m, addr, got.Summary())
	}
	return nil
}
