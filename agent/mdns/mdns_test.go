package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

var (
	addr    = netip.MustParseAddr("192.168.1.1")
	network = netip.MustParsePrefix("192.168.1.0/24")
)

// none is a machine without avahi-daemon.
type none struct{}

func (none) Runs(context.Context) bool { return false }
func (none) Publish(context.Context, int, string, netip.Addr, func()) error {
	return errors.New("there is none")
}

// lan is an appliance, and somebody else, on one LAN.
type lan struct {
	t              *testing.T
	lab            *labtest.Lab
	wire           *labtest.Switch
	server, client *labtest.Host
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	l := &lan{t: t, lab: labtest.New(t)}
	l.wire = l.lab.Switch("lan")
	l.server, l.client = l.host("server", addr.String()), l.host("client", "192.168.1.50")
	return l
}

func (l *lan) host(name, addr string) *labtest.Host {
	l.t.Helper()
	h := l.lab.Host(name)
	l.wire.Plug(h, "eth0")
	h.Addr("eth0", addr+"/24")
	h.Up("eth0")
	return h
}

// run runs a responder until the test ends, or until the returned func is called.
func (l *lan) run(h *labtest.Host, at netip.Addr, a avahi) (r *Responder, stop func()) {
	l.t.Helper()
	r = New(Config{Interface: "eth0", Addr: at, LAN: network, Label: "sae"}, slog.New(slog.DiscardHandler))
	if a != nil {
		r.avahi = a
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Host.Do(func() error { return r.Run(ctx) }) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
		done <- nil
	}
	l.t.Cleanup(stop)
	return r, stop
}

func (l *lan) waitName(r *Responder, want string) {
	l.t.Helper()
	labtest.Eventually(l.t, func() error {
		if got := r.Name(); got != want {
			return fmt.Errorf("the name is %q, not %q", got, want)
		}
		return nil
	})
}

// avahi runs Debian's avahi-daemon on a host, with a bus of its own, and returns the bus's address.
func (l *lan) avahi(h *labtest.Host, hostname string) (bus string, daemon *labtest.Process) {
	l.t.Helper()
	dir := l.t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			l.t.Fatal(err)
		}
		return path
	}
	socket := filepath.Join(dir, "bus")
	bus = "unix:path=" + socket
	conf := write("bus.conf", `<busconfig><type>system</type><listen>`+bus+`</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>`)
	h.Start("dbus-daemon", "--nofork", "--nopidfile", "--config-file="+conf)
	labtest.Eventually(l.t, func() error { _, err := os.Stat(socket); return err })
	conf = write("avahi.conf", "[server]\nhost-name="+hostname+"\nuse-ipv4=yes\nuse-ipv6=no\nallow-interfaces=eth0\nenable-dbus=yes\n[publish]\npublish-workstation=no\npublish-hinfo=no\n")
	daemon = h.Start("env", "DBUS_SYSTEM_BUS_ADDRESS="+bus, "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "--file="+conf)
	daemon.WaitOutput("Server startup complete")
	return bus, daemon
}

// resolve waits until avahi on a host finds a name.
func (l *lan) resolve(h *labtest.Host, bus, name, want string) {
	l.t.Helper()
	labtest.Eventually(l.t, func() error {
		out, err := h.Command("env", "DBUS_SYSTEM_BUS_ADDRESS="+bus, "avahi-resolve", "-4", "-n", name).CombinedOutput()
		if !strings.HasSuffix(strings.TrimSpace(string(out)), "\t"+want) {
			return fmt.Errorf("avahi-resolve %s: %s %v", name, out, err)
		}
		return nil
	})
}

// Debian's avahi finds the name. Who has it already keeps it.
func TestAvahiFindsTheName(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	bus, _ := l.avahi(l.client, "sae") // a machine of somebody else's, that is called so
	r, _ := l.run(l.server, addr, none{})
	l.waitName(r, "sae-2.local")
	l.resolve(l.client, bus, "sae-2.local", addr.String())
	l.resolve(l.client, bus, "sae.local", "192.168.1.50")
	// A second appliance gets a third name; the first one defends its own.
	third := l.host("third", "192.168.1.2")
	other, _ := l.run(third, netip.MustParseAddr("192.168.1.2"), none{})
	l.waitName(other, "sae-3.local")
	l.waitName(r, "sae-2.local")
	l.resolve(l.client, bus, "sae-3.local", "192.168.1.2")
}

// Two that begin at once agree on who is who.
func TestBothAtOnce(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	one, _ := l.run(l.server, addr, none{})
	two, _ := l.run(l.client, netip.MustParseAddr("192.168.1.50"), none{})
	labtest.Eventually(t, func() error {
		a, b := one.Name(), two.Name()
		if a == "" || b == "" || a == b {
			return fmt.Errorf("%q and %q", a, b)
		}
		return nil
	})
}

// Where avahi-daemon runs, it answers; when it ends, we do.
func TestThroughAvahi(t *testing.T) {
	l := newLAN(t)
	bus, daemon := l.avahi(l.server, "appliance")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus)
	r, _ := l.run(l.server, addr, nil)
	l.waitName(r, "sae.local")
	if n := l.sockets(); n != 1 {
		t.Errorf("%d programs listen on the port of mDNS", n)
	}
	theirs, _ := l.avahi(l.client, "desk")
	l.resolve(l.client, theirs, "sae.local", addr.String())
	_ = daemon.Kill() // says that it was killed
	labtest.Eventually(t, func() error {
		if n, name := l.sockets(), r.Name(); n != 1 || name != "sae.local" {
			return fmt.Errorf("%d programs listen, the name is %q", n, name)
		}
		return nil
	})
	l.resolve(l.client, theirs, "sae.local", addr.String())
}

// sockets counts those of mDNS on the server, IPv4.
func (l *lan) sockets() (n int) {
	return strings.Count(l.server.Run("cat", "/proc/net/udp"), ":14E9 00000000:0000")
}

// Who asks in one of the ways that there are is answered, and nobody else.
func TestPackets(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.client.Addr("eth0", "10.9.9.9/24")
	l.client.Route("224.0.0.0/4", "dev", "eth0")
	l.server.Route("10.9.9.0/24", "dev", "eth0")
	r, stop := l.run(l.server, addr, none{})
	l.waitName(r, "sae.local")
	ask := func(from string, q ...dnsmessage.Question) (*net.UDPConn, []byte) {
		t.Helper()
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7})
		packet, err := finish(&b, b.StartQuestions, func() error {
			for _, one := range q {
				if err := b.Question(one); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var c *net.UDPConn
		l.client.Do(func() error {
			c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)))
			return err
		})
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.WriteToUDPAddrPort(packet, netip.AddrPortFrom(group, port)); err != nil {
			t.Fatal(err)
		}
		return c, packet
	}
	receive := func(c *net.UDPConn) (m dnsmessage.Message, packet []byte) {
		t.Helper()
		buf := make([]byte, maxPacket)
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err == nil {
			err = m.Unpack(buf[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		return m, buf[:n]
	}
	name := dnsmessage.MustNewName("SAE.local.")
	a := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	c, asked := ask("192.168.1.50:0", a)
	m, answered := receive(c)
	if m.ID != 7 || len(m.Questions) != 1 || len(m.Answers) != 1 || m.Answers[0].Header.TTL != legacyTTL || m.Answers[0].Header.Class != dnsmessage.ClassINET || len(answered) > 2*len(asked) {
		t.Errorf("from a port of its own, %d bytes for %d: %+v", len(answered), len(asked), m)
	}
	a.Class |= unicast
	c, _ = ask("192.168.1.50:5353", a)
	if m, _ := receive(c); m.ID != 0 || len(m.Questions) != 0 || len(m.Answers) != 1 || m.Answers[0].Header.TTL != ttl || m.Answers[0].Header.Class != dnsmessage.ClassINET|flush {
		t.Errorf("for itself: %+v", m)
	}
	// Nothing for others and for other names: the answer after them is the next that comes.
	a.Class = dnsmessage.ClassINET
	away, _ := ask("10.9.9.9:0", a)
	c, _ = ask("192.168.1.50:0", dnsmessage.Question{Name: dnsmessage.MustNewName("other.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	if _, err := c.WriteToUDPAddrPort([]byte("nonsense"), netip.AddrPortFrom(group, port)); err != nil {
		t.Fatal(err)
	}
	last, _ := ask("192.168.1.50:0", a)
	receive(last)
	for what, c := range map[string]*net.UDPConn{"another network": away, "another name": c} {
		if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, maxPacket)); err == nil {
			t.Errorf("%s: %d bytes", what, n)
		}
	}
	// It does not answer a flood.
	began := time.Now()
	c, asked = ask("192.168.1.50:0", a)
	for range 2000 {
		if _, err := c.WriteToUDPAddrPort(asked, netip.AddrPortFrom(group, port)); err != nil {
			t.Fatal(err)
		}
	}
	answers := 0
	for ; ; answers++ {
		if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, maxPacket)); err != nil {
			break
		}
	}
	if most := burst + int(perSecond*time.Since(began).Seconds()) + 1; answers == 0 || answers > most {
		t.Errorf("%d answers to 2000 questions, at most %d are right", answers, most)
	}
	stop()
	if r.Name() != "" {
		t.Error("it has a name still")
	}
}

// What a packet says is found out without trust in it.
func TestRead(t *testing.T) {
	t.Parallel()
	r, err := newRecord("sae.local", addr)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newRecord("sae.local", netip.MustParseAddr("192.168.1.9"))
	smaller, _ := newRecord("sae.local", netip.MustParseAddr("10.0.0.1"))
	packet := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m, ok := r.read(packet(other.announcement(ttl)))
	if !ok || !m.response || !m.conflict {
		t.Errorf("somebody else has it: %+v", m)
	}
	if m, _ := r.read(packet(other.announcement(0))); m.conflict {
		t.Error("somebody else gives it up")
	}
	if m, _ := r.read(packet(r.announcement(ttl))); m.conflict || !m.known {
		t.Errorf("our own: %+v", m)
	}
	if m, _ := r.read(packet(other.query())); m.probe == nil || r.wins(m.probe) || m.question.Type != dnsmessage.TypeALL {
		t.Errorf("a greater one is proposed: %+v", m)
	}
	if m, _ := r.read(packet(smaller.query())); m.probe == nil || !r.wins(m.probe) {
		t.Errorf("a smaller one is proposed: %+v", m)
	}
	if m, _ := r.read(packet(r.query())); !r.wins(m.probe) {
		t.Error("our own is proposed")
	}
	for _, bad := range [][]byte{nil, {0}, make([]byte, 11), append(make([]byte, 5), 255, 255, 255, 255, 255, 255, 255)} {
		if m, _ := r.read(bad); m.conflict || m.question.Type != 0 {
			t.Errorf("%v: %+v", bad, m)
		}
	}
	six := message{question: dnsmessage.Question{Name: r.name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}}
	var no dnsmessage.Message
	if err := no.Unpack(packet(r.answer(six, false))); err != nil || len(no.Answers) != 1 || no.Answers[0].Header.Type != typeNSEC {
		t.Errorf("there is no address of IPv6: %v %+v", err, no)
	}
}

func FuzzRead(f *testing.F) {
	r, err := newRecord("sae.local", addr)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []func() ([]byte, error){r.query, func() ([]byte, error) { return r.announcement(ttl) }} {
		b, err := seed()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, ok := r.read(packet)
		if !ok || m.question.Type == 0 {
			return
		}
		for _, legacy := range []bool{true, false} {
			if answer, err := r.answer(m, legacy); err != nil || len(answer) > 2*len(packet)+64 {
				t.Errorf("%d bytes are answered by %d: %v", len(packet), len(answer), err)
			}
		}
	})
}
