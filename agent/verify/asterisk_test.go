package verify

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/sipcall"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

const (
	transports = "[udp]\ntype=transport\nprotocol=udp\nbind=192.168.1.1\n"
	dialplan   = `
[lines]
exten => _[1-9]XX,hint,PJSIP/${EXTEN}
exten => _[1-9]XX,1,Dial(PJSIP/${EXTEN},60)
exten => *97,1,Answer()
 same => n,Playback(vm-login)
 same => n,Wait(60)
exten => *43,1,Answer()
 same => n,Echo()
exten => 8000,1,Answer()
 same => n,Wait(60)
`
)

// line is an account of the exchange, with the secret that is usual here.
func line(number string) string {
	return strings.ReplaceAll(`
[NUMBER]
type=endpoint
context=lines
disallow=all
allow=ulaw
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
max_contacts=1
`, "NUMBER", number)
}

func account(number string) Account { return Account{Number: number, Secret: "secret-of-" + number} }

// site is an exchange and what it is checked with. The fields are changed by what
// goes wrong in a test.
type site struct {
	t        *testing.T
	server   *labtest.Host
	pbx      *labtest.Asterisk
	pjsip    string // without test accounts
	exchange Exchange
}

func newSite(t *testing.T, lines ...string) *site {
	t.Helper()
	l := labtest.New(t)
	s := &site{t: t, server: l.Host("appliance"), pjsip: transports}
	lan := l.Switch("lan")
	lan.Plug(s.server, "eth0")
	s.server.Addr("eth0", "192.168.1.1/24")
	s.exchange = Exchange{
		Server: netip.MustParseAddrPort("192.168.1.1:5060"), Transport: "udp", Listen: s.listen,
		Phones: func(context.Context) ([]Phone, error) { return nil, nil }, Borrow: s.borrow, Voicemail: "*97", Echo: "*43",
	}
	for _, n := range lines {
		s.pjsip += line(n)
		s.exchange.Extensions = append(s.exchange.Extensions, account(n))
	}
	s.pbx = s.server.Asterisk(map[string]string{"pjsip.conf": s.pjsip, "extensions.conf": dialplan})
	return s
}

// listen opens a socket on the exchange's own machine.
func (s *site) listen(port uint16) (conn net.PacketConn, err error) {
	s.server.Do(func() error {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.exchange.Server.Addr(), port)))
		return err
	})
	return conn, err
}

// reload gives the exchange other accounts.
func (s *site) reload(pjsip string) error {
	err := os.WriteFile(filepath.Join(s.pbx.Etc(), "pjsip.conf"), []byte(pjsip), 0o644)
	if err == nil {
		_, err = s.pbx.Server.CLI(s.t.Context(), "pjsip reload")
	}
	return err
}

func (s *site) borrow(ctx context.Context) (a [2]Account, giveBack func(context.Context) error, err error) {
	a = [2]Account{account("990"), account("991")}
	if err = s.reload(s.pjsip + line("990") + line("991")); err != nil {
		return a, nil, err
	}
	for !strings.Contains(s.pbx.CLI("pjsip show auths"), "991") {
		time.Sleep(10 * time.Millisecond)
	}
	return a, func(context.Context) error { return s.reload(s.pjsip) }, nil
}

func (s *site) verify() control.Verification {
	return Run(s.t.Context(), slog.New(slog.DiscardHandler), NewTelephony(s.exchange))
}

// outcomes is what a report says in a few words.
func outcomes(v control.Verification) string {
	var out []string
	for _, c := range v.Checks {
		out = append(out, c.Check+" "+string(c.Outcome))
	}
	return strings.Join(out, ", ")
}

// problemText is all that a check says.
func problemText(t *testing.T, v control.Verification, check string) string {
	t.Helper()
	text := ""
	for _, c := range v.Checks {
		for _, p := range c.Problems {
			if p.Fix == "" {
				t.Errorf("%s: %q has no fix", c.Check, p.What)
			}
			if c.Check == check {
				text += p.What + "\n"
			}
		}
	}
	return text
}

const allPassed = "exchange passed, secrets passed, phones not tried, accounts passed, call passed, voicemail passed, echo passed"

func TestTelephony(t *testing.T) {
	s := newSite(t, "100", "101")
	v := s.verify()
	if got := outcomes(v); got != allPassed || !v.Passed {
		t.Fatalf("%s\n%+v", got, v)
	}
	if auths := s.pbx.CLI("pjsip show auths"); strings.Contains(auths, "990") || strings.Contains(auths, "991") {
		t.Errorf("the test accounts are still there:\n%s", auths)
	}

	t.Run("secret changed by hand", func(t *testing.T) {
		changed := strings.Replace(s.pjsip, "password=secret-of-100", "password=changed", 1)
		s.pjsip, changed = changed, s.pjsip
		defer func() { s.pjsip = changed }()
		if err := s.reload(s.pjsip); err != nil {
			t.Fatal(err)
		}
		v := s.verify()
		if got := outcomes(v); got != strings.Replace(allPassed, "secrets passed", "secrets failed", 1) || v.Passed {
			t.Error(got)
		}
		if got := problemText(t, v, "secrets"); !strings.HasPrefix(got, "extension 100: the exchange refuses the secret of the file") || strings.Contains(got, "101") {
			t.Error(got)
		}
	})

	t.Run("no audio", func(t *testing.T) {
		s.server.Run("nft", "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; add rule inet deaf in udp dport 10000-20000 drop")
		defer s.server.Run("nft", "delete table inet deaf")
		suite := NewTelephony(s.exchange)
		defer func() {
			if err := suite.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if f := suite.accounts(t.Context()); len(f.Problems) > 0 {
			t.Fatal(f.Problems)
		}
		f := suite.call(t.Context())
		if len(f.Problems) != 1 || !strings.HasPrefix(f.Problems[0].What, "a call between two extensions is silent: 991 does not hear 990: no audio came") {
			t.Errorf("%+v", f)
		}
	})

	t.Run("another address", func(t *testing.T) {
		for address, want := range map[string]string{
			"203.0.113.9": "a call between two extensions is silent: the exchange tells phones 203.0.113.9 as its own address: ",
		} {
			good := s.pjsip
			s.pjsip = strings.Replace(good, "bind=192.168.1.1\n", "bind=192.168.1.1\nallow_reload=yes\nexternal_media_address="+address+"\n", 1)
			if err := s.reload(s.pjsip); err != nil {
				t.Fatal(err)
			}
			v := s.verify()
			if got := problemText(t, v, "call"); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s", outcomes(v), got)
			}
			if got := problemText(t, v, "echo"); !strings.HasPrefix(got, "*43 answers, but the exchange tells phones "+address) {
				t.Errorf("%s: %s", outcomes(v), got)
			}
			s.pjsip = good
			if err := s.reload(good); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("no such service", func(t *testing.T) {
		s.exchange.Voicemail = "*96"
		v := s.verify()
		if got := problemText(t, v, "voicemail"); !strings.HasPrefix(got, "*96 does not answer: call of 990 to *96: 404") {
			t.Errorf("%s: %s", outcomes(v), got)
		}
	})

	t.Run("nothing is left behind, or it is said", func(t *testing.T) {
		s.exchange.Borrow = func(ctx context.Context) ([2]Account, func(context.Context) error, error) {
			a, back, err := s.borrow(ctx)
			return a, func(ctx context.Context) error { return errors.Join(back(ctx), errors.New("cannot remove 990")) }, err
		}
		v := s.verify()
		if got := problemText(t, v, "tidy"); got != "cannot remove 990\n" || v.Passed {
			t.Errorf("%s: %s", outcomes(v), got)
		}
	})

	t.Run("the exchange is dead", func(t *testing.T) {
		s.pbx.Kill()
		suite := NewTelephony(s.exchange)
		suite.patience = time.Second
		v := Run(t.Context(), slog.New(slog.DiscardHandler), suite)
		if got := outcomes(v); got != "exchange failed, secrets not tried, phones not tried, accounts not tried, call not tried, voicemail not tried, echo not tried" {
			t.Error(got)
		}
		if got := problemText(t, v, "exchange"); !strings.HasPrefix(got, "the exchange at 192.168.1.1:5060 does not answer") {
			t.Error(got)
		}
	})
}

func TestPhones(t *testing.T) {
	s := newSite(t, "100")
	ctx := t.Context()
	own := NewTelephony(s.exchange)
	desk, err := own.phone(ctx, account("100"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := desk.Register(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	contacts, err := desk.Contacts(ctx)
	if err != nil || len(contacts) != 1 {
		t.Fatal(contacts, err)
	}
	uri, _, _ := strings.Cut(strings.Trim(contacts[0], "<"), ">")
	phones := []Phone{
		{Name: "00:15:65:00:00:01", Extension: "100", Contact: uri, Transport: "udp"},
		{Name: "00:15:65:00:00:02", Extension: "101"},
		{Name: "00:15:65:00:00:03", Extension: "102", Contact: "sip:102@192.168.1.9;transport=tcp", Transport: "tcp", Reachable: true},
	}
	s.exchange.Phones = func(context.Context) ([]Phone, error) { return phones, nil }
	look := func() Found { return NewTelephony(s.exchange).phones(ctx) }
	if f := look(); len(f.Problems) > 0 || f.Seen != "2 of 3 phones are registered" {
		t.Errorf("%+v", f)
	}
	if err := desk.Close(); err != nil {
		t.Fatal(err)
	}
	hasty := NewTelephony(s.exchange)
	hasty.patience = time.Second
	phones[1].Problem = "the exchange refused its secret"
	phones[2].Reachable = false
	want := []string{
		"extension 100: the phone 00:15:65:00:00:01 is registered at " + uri + " but does not answer",
		"extension 101: the phone 00:15:65:00:00:02 is not registered: the exchange refused its secret",
		"extension 102: the phone 00:15:65:00:00:03 is registered at sip:102@192.168.1.9;transport=tcp but does not answer",
	}
	f := hasty.phones(ctx)
	for i, p := range f.Problems {
		if len(f.Problems) != len(want) || p.What != want[i] {
			t.Errorf("%q, want %q", p.What, want)
		}
	}
	if len(f.Problems) == 0 {
		t.Error("no phone has a problem")
	}
	if f := (&Telephony{x: Exchange{Phones: func(context.Context) ([]Phone, error) { return nil, sipcall.ErrSilent }}}).phones(ctx); len(f.Problems) != 1 {
		t.Errorf("%+v", f)
	}
}
