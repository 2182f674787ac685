package sipcall

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// exchange is what the Asterisk of these tests is set up with: two lines, voice
// mail, an echo, and lamps.
var exchange = map[string]string{
	"pjsip.conf": `
[udp]
type=transport
protocol=udp
bind=192.168.1.1
[tcp]
type=transport
protocol=tcp
bind=192.168.1.1
` + line("100") + line("101"),
	"extensions.conf": `
[lines]
exten => _1XX,hint,PJSIP/${EXTEN}
exten => 100,hint,PJSIP/100
exten => 101,hint,PJSIP/101
exten => _1XX,1,Dial(PJSIP/${EXTEN},60)
exten => *97,1,Answer()
 same => n,Playback(vm-login)
exten => *43,1,Answer()
 same => n,Echo()
`,
}

func line(number string) string {
	return strings.ReplaceAll(`
[NUMBER]
type=endpoint
context=lines
disallow=all
allow=ulaw,alaw
auth=NUMBER
aors=NUMBER
direct_media=no
[NUMBER]
type=auth
auth_type=userpass
username=NUMBER
password=secret-of-NUMBER
[NUMBER]
type=aor
max_contacts=2
`, "NUMBER", number)
}

// site is an exchange and the network of the phones.
type site struct {
	t      *testing.T
	phones *labtest.Host
	pbx    *labtest.Asterisk
}

func newSite(t *testing.T) *site {
	t.Helper()
	l := labtest.New(t)
	lan, server := l.Switch("lan"), l.Host("appliance")
	s := &site{t: t, phones: l.Host("phones")}
	lan.Plug(server, "eth0")
	lan.Plug(s.phones, "eth0")
	server.Addr("eth0", "192.168.1.1/24")
	s.phones.Addr("eth0", "192.168.1.50/24")
	s.pbx = server.Asterisk(exchange)
	return s
}

// config is a phone's, on the phones' host.
func (s *site) config(number, transport string) Config {
	return Config{
		Server: netip.MustParseAddrPort("192.168.1.1:5060"), Transport: transport, Number: number, Secret: "secret-of-" + number,
		Tone: map[string]float64{"100": 440, "101": 1000}[number],
		Listen: func(port uint16) (conn net.PacketConn, err error) {
			s.phones.Do(func() error {
				conn, err = net.ListenPacket("udp4", net.JoinHostPort("192.168.1.50", "0"))
				return err
			})
			return conn, err
		},
		Dial: func(ctx context.Context) (conn net.Conn, err error) {
			s.phones.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, "tcp4", "192.168.1.1:5060")
				return err
			})
			return conn, err
		},
	}
}

func TestAsterisk(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for _, transport := range []string{UDP, TCP} {
		t.Run(transport, func(t *testing.T) {
			alice, bob := switchOn(t, s.config("100", transport)), switchOn(t, s.config("101", transport))
			if err := errors.Join(alice.Register(ctx, time.Hour), bob.Register(ctx, time.Hour)); err != nil {
				t.Fatal(err)
			}
			contacts, err := alice.Contacts(ctx)
			if err != nil || len(contacts) != 1 || !strings.Contains(contacts[0], alice.contact.Address.String()) {
				t.Errorf("contacts %q %v", contacts, err)
			}
			t.Run("call", func(t *testing.T) { callAndWatch(t, ctx, alice, bob) })
			t.Run("voicemail", func(t *testing.T) { service(t, ctx, alice, "*97", 0) })
			t.Run("echo", func(t *testing.T) { service(t, ctx, bob, "*43", 1000) })
			if err := errors.Join(alice.Register(ctx, 0), bob.Register(ctx, 0)); err != nil {
				t.Error(err)
			}
			if contacts, err := alice.Contacts(ctx); err != nil || len(contacts) != 0 {
				t.Errorf("contacts after unregistering %q %v", contacts, err)
			}
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		cfg := s.config("100", UDP)
		cfg.Secret = "wrong"
		mallory := switchOn(t, cfg)
		if err := mallory.Register(ctx, time.Hour); !errors.Is(err, ErrSecret) {
			t.Errorf("REGISTER: %v", err)
		}
		if _, err := mallory.Contacts(ctx); !errors.Is(err, ErrSecret) {
			t.Errorf("REGISTER: %v", err)
		}
		if _, err := mallory.Call(ctx, "*43"); !errors.Is(err, ErrSecret) {
			t.Errorf("INVITE: %v", err)
		}
		if _, err := mallory.Watch(ctx, "101"); !errors.Is(err, ErrSecret) {
			t.Errorf("SUBSCRIBE: %v", err)
		}
	})
}

// callAndWatch calls bob, whose lamp alice has.
func callAndWatch(t *testing.T, ctx context.Context, alice, bob *Phone) {
	lamp, err := alice.Watch(ctx, "101")
	if err != nil {
		t.Fatal(err)
	}
	if err := lamp.Wait(ctx, Idle); err != nil {
		t.Error(err)
	}
	var from *Call
	failed := make(chan error, 1)
	go func() {
		var err error
		from, err = alice.Call(ctx, "101")
		failed <- err
	}()
	in, err := bob.Ringing(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := lamp.Wait(ctx, Early); err != nil {
		t.Error(err)
	}
	to, err := in.Answer(ctx)
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(from.Hear(ctx, 1000), to.Hear(ctx, 440), lamp.Wait(ctx, Talking), to.HangUp(ctx), lamp.Wait(ctx, Idle)); err != nil {
		t.Error(err)
	}
	<-from.Done()
	if err := errors.Join(from.HangUp(ctx), lamp.Stop(ctx)); err != nil {
		t.Error(err)
	}
}

// service calls a number of the exchange's own.
func service(t *testing.T, ctx context.Context, p *Phone, number string, hz float64) {
	c, err := p.Call(ctx, number)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Hear(ctx, hz), c.HangUp(ctx)); err != nil {
		t.Error(err)
	}
}
