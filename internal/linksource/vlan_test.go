//go:build vm

package linksource

import (
	"net"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// On a VLAN's own card frames are told as on any other. Not every kernel has VLANs: packaging/dev/vm runs this on
// Debian's own.
func TestTapOnVLAN(t *testing.T) {
	server, phone, _ := lan(t)
	for _, h := range []struct {
		*labtest.Host
		card, addr string
	}{{server, "ens34", "192.168.10.1/24"}, {phone, "eth0", "192.168.10.20/24"}} {
		h.Run("ip", "link", "add", "link", h.card, "name", "voice", "type", "vlan", "id", "10")
		h.Run("ip", "addr", "add", h.addr, "dev", "voice")
		h.Run("ip", "link", "set", "voice", "up")
	}
	r := &receiver{t: t}
	server.Do(func() (err error) {
		if r.tap, err = Open("voice", 69); err != nil {
			return err
		}
		r.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 168, 10, 1), Port: 69})
		return err
	})
	t.Cleanup(func() { _ = r.conn.Close(); _ = r.tap.Close() })
	phone.Do(func() error {
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(192, 168, 10, 1), Port: 69})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
	_, got := r.next()
	expect(t, "the phone", got, stationOf(phone))
}
