//go:build vm

package vm

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// witness sees what leaves the machine's LAN card, and notes which address was acknowledged to whom.
type witness struct {
	mu    sync.Mutex // guards the following
	given map[string]string
	more  chan struct{} // closed when another was given
}

// watch listens at the emulator's end of a cable until the test ends.
func watch(t *testing.T, host *labtest.Host, card string) *witness {
	t.Helper()
	var conn *packet.Conn
	host.Do(func() error {
		link, err := net.InterfaceByName(card)
		if err == nil {
			conn, err = packet.Listen(link, packet.Raw, unix.ETH_P_ALL, nil)
		}
		return err
	})
	w := &witness{given: make(map[string]string), more: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.read(conn)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return w
}

// read notes ACKs until the connection is closed.
func (w *witness) read(conn *packet.Conn) {
	frame := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(frame)
		if err != nil {
			return
		}
		if m := message(frame[:n]); m != nil && m.MessageType() == dhcpv4.MessageTypeAck {
			w.note(m.ClientHWAddr.String(), m.YourIPAddr.String())
		}
	}
}

// message returns the DHCP server's message in a frame, or nil.
func message(frame []byte) *dhcpv4.DHCPv4 {
	const ethernet, udp, serverPort = 14, 8, 67
	if len(frame) <= ethernet || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return nil
	}
	ip := frame[ethernet:]
	header := int(ip[0]&0x0f) * 4
	if len(ip) < header+udp || ip[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(ip[header:]) != serverPort {
		return nil
	}
	m, err := dhcpv4.FromBytes(ip[header+udp:])
	if err != nil {
		return nil
	}
	return m
}

func (w *witness) note(mac, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given[mac] = address
	close(w.more)
	w.more = make(chan struct{})
}

// leases returns the addresses that were acknowledged so far, by MAC.
func (w *witness) leases() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.given)
}

// wait waits until n leases were acknowledged.
func (w *witness) wait(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		got, more := len(w.given), w.more
		w.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("%d leases of %d: %w", got, n, ctx.Err())
		}
	}
}
