package system

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// askEvery is how often one of the clients asks.
const askEvery = 20 * time.Millisecond

// BenchmarkSilence measures for how long nobody answers DHCP on the LAN while the appliance changes. Several clients with
// leases ask by turns, since one alone would be slowed down.
func BenchmarkSilence(b *testing.B) {
	m := newMachine(b)
	m.boot()
	f := formers["isc-dhcp-server"]
	m.sh(f.setUp)
	m.uplink()
	lan := newAskers(m, 4)
	m.install()
	m.sh("sae-agent import --yes; sed -i '/^dhcp:/,/^[a-z]/s/enabled: false/enabled: true/' /etc/sae-agent/config.yaml; sae-agent apply || true")
	for _, c := range []struct{ what, script string }{
		{"nothing", "sleep 3"},
		{"takeover", "sae-agent takeover --yes && sae-agent apply"},
		{"restart", "systemctl restart sae-agent"},
		{"upgrade", "apt-get -q -y --reinstall install sae-agent"},
	} {
		b.Run(c.what, func(b *testing.B) {
			for b.Loop() {
				silence := lan.during(func() { m.sh(c.script) })
				b.ReportMetric(float64(silence.Milliseconds()), "ms-silent")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// askers are clients of the LAN that note when they are answered.
type askers struct {
	b       testing.TB
	clients []asker

	mu       sync.Mutex
	answered []time.Time
}

type asker struct {
	mac  net.HardwareAddr
	conn net.PacketConn
}

func newAskers(m *machine, n int) *askers {
	a := &askers{b: m.t}
	for i := range n {
		h := m.lab.Host(fmt.Sprint("asker", i))
		m.lan.Plug(h, "eth0")
		h.Run("udhcpc", "-n", "-q", "-i", "eth0", "-t", "20", "-T", "1", "-s", "/bin/true")
		c := asker{mac: h.MAC("eth0")}
		h.Do(func() (err error) {
			c.conn, err = listenAsClient("eth0")
			return err
		})
		m.t.Cleanup(func() { _ = c.conn.Close() })
		a.clients = append(a.clients, c)
		go a.hear(c)
	}
	return a
}

// listenAsClient opens the port of DHCP clients on a card.
func listenAsClient(card string) (net.PacketConn, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			if err == nil {
				err = unix.BindToDevice(int(fd), card)
			}
		}); controlErr != nil {
			return controlErr
		}
		return err
	}}
	return c.ListenPacket(context.Background(), "udp4", "0.0.0.0:68")
}

// hear notes the answers to a client.
func (a *askers) hear(c asker) {
	buf := make([]byte, 1500)
	for {
		n, _, err := c.conn.ReadFrom(buf)
		if err != nil {
			return // it is closed
		}
		if p, err := dhcpv4.FromBytes(buf[:n]); err == nil && slices.Equal(p.ClientHWAddr, c.mac) && p.MessageType() == dhcpv4.MessageTypeOffer {
			a.mu.Lock()
			a.answered = append(a.answered, time.Now())
			a.mu.Unlock()
		}
	}
}

// during has the clients ask until something is done, and returns the longest time without an answer.
func (a *askers) during(do func()) (longest time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() { a.ask(ctx) })
	labtest.Eventually(a.b, func() error { return a.since(time.Now().Add(-5 * askEvery)) })
	began := time.Now()
	do()
	ended := time.Now()
	labtest.Eventually(a.b, func() error { return a.since(ended) })
	cancel()
	asking.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, t := range a.answered {
		if i > 0 && t.After(began) {
			longest = max(longest, t.Sub(a.answered[i-1]))
		}
	}
	return longest
}

// since returns an error until somebody was answered after a time.
func (a *askers) since(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.answered); n == 0 || a.answered[n-1].Before(t) {
		return fmt.Errorf("%d answers, none since %v", n, t)
	}
	return nil
}

func (a *askers) ask(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	everybody := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}
	for i := 0; ctx.Err() == nil; i++ {
		<-tick.C
		c := a.clients[i%len(a.clients)]
		p, err := dhcpv4.NewDiscovery(c.mac, dhcpv4.WithBroadcast(true))
		if err == nil {
			_, err = c.conn.WriteTo(p.ToBytes(), everybody)
		}
		if err != nil {
			a.b.Error(err)
			return
		}
	}
}
