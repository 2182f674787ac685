package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
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

// BenchmarkSilence measures for how long nobody answers DHCP and TFTP on the LAN while the appliance changes. Several clients
// with leases ask by turns, since one alone would be slowed down.
func BenchmarkSilence(b *testing.B) {
	for _, manager := range []string{"ifupdown", "NetworkManager", "systemd-networkd"} {
		b.Run(manager, func(b *testing.B) {
			m := newMachine(b)
			m.boot()
			setUp := formers["isc-dhcp-server"].setUp // with ifupdown
			if manager != "ifupdown" {
				m.sh(formers[manager].setUp)
				m.eventually("ip -4 -o address show dev ens34", "192.168.1.1/24") // or the server would not start
				setUp = strings.Replace(setUp, ifupdownBoth, "", 1)
			}
			m.sh(setUp)
			m.uplink()
			lan := newAskers(m, 4)
			m.install()
			m.sh("sae-agent import --yes; sed -i '/^dhcp:/,/^[a-z]/s/enabled: false/enabled: true/' /etc/sae-agent/config.yaml; sae-agent apply || true")
			lan.measure(b, "nothing", "sleep 3")
			lan.measure(b, "takeover", "sae-agent takeover --yes && sae-agent apply")
			lan.measure(b, "restart", "systemctl restart sae-agent")
			lan.measure(b, "upgrade", "apt-get -q -y --reinstall install sae-agent")
		})
	}
}

// measure reports the longest time without an answer while a script runs.
func (a *askers) measure(b *testing.B, what, script string) {
	b.Run(what, func(b *testing.B) {
		for b.Loop() {
			dhcp, tftp := a.during(func() { a.machine.sh(script) })
			b.ReportMetric(float64(dhcp.Milliseconds()), "ms-without-DHCP")
			b.ReportMetric(float64(tftp.Milliseconds()), "ms-without-TFTP")
		}
		b.ReportMetric(0, "ns/op")
	})
}

// askers are clients of the LAN that note when they are answered.
type askers struct {
	b       testing.TB
	machine *machine
	clients []asker
	phone   net.PacketConn // asks for a file

	dhcp, tftp answers
}

// answers are when somebody was answered.
type answers struct {
	mu sync.Mutex
	at []time.Time
}

// forget begins anew.
func (a *answers) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = nil
}

func (a *answers) note() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
}

// since returns an error until somebody was answered after a time.
func (a *answers) since(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.at); n == 0 || a.at[n-1].Before(t) {
		return fmt.Errorf("%d answers, none since %v", n, t)
	}
	return nil
}

// silence returns the longest time without an answer.
func (a *answers) silence() (longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(a.at); i++ {
		longest = max(longest, a.at[i].Sub(a.at[i-1]))
	}
	return longest
}

type asker struct {
	mac  net.HardwareAddr
	conn net.PacketConn
}

func newAskers(m *machine, n int) *askers {
	a := &askers{b: m.t, machine: m}
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
	h := m.lab.Host("fetcher")
	m.lan.Plug(h, "eth0")
	h.Run("ip", "address", "add", "192.168.1.150/24", "dev", "eth0")
	h.Do(func() (err error) {
		a.phone, err = net.ListenPacket("udp4", "192.168.1.150:0")
		return err
	})
	m.t.Cleanup(func() { _ = a.phone.Close() })
	go a.hearFiles()
	return a
}

// hearFiles notes answers of a TFTP server: also that there is no such file is one.
func (a *askers) hearFiles() {
	buf := make([]byte, 1500)
	for {
		if _, _, err := a.phone.ReadFrom(buf); err != nil {
			return // it is closed
		}
		a.tftp.note()
	}
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
			a.dhcp.note()
		}
	}
}

// during has the clients ask until something is done, and returns the longest times without an answer.
func (a *askers) during(do func()) (dhcp, tftp time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	answered := func(since time.Time) {
		labtest.Eventually(a.b, func() error { return errors.Join(a.dhcp.since(since), a.tftp.since(since)) })
	}
	a.dhcp.forget()
	a.tftp.forget()
	asking.Go(func() { a.ask(ctx) })
	answered(time.Now())
	do()
	answered(time.Now())
	cancel()
	asking.Wait()
	return a.dhcp.silence(), a.tftp.silence()
}

func (a *askers) ask(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	everybody := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}
	files := &net.UDPAddr{IP: net.IPv4(192, 168, 1, 1), Port: 69}
	for i := 0; ctx.Err() == nil; i++ {
		<-tick.C
		c := a.clients[i%len(a.clients)]
		p, err := dhcpv4.NewDiscovery(c.mac, dhcpv4.WithBroadcast(true))
		if err == nil {
			_, err = c.conn.WriteTo(p.ToBytes(), everybody)
		}
		if err == nil {
			_, err = a.phone.WriteTo([]byte("\x00\x01silence.cfg\x00octet\x00"), files)
		}
		if err != nil {
			a.b.Error(err)
			return
		}
	}
}
