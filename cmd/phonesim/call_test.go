package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// asterisk starts a real one for the lines of an inventory of n phones. The
// dialplan says what the rest of it does.
func (s *site) asterisk(n int, dialplan string) *labtest.Asterisk {
	s.t.Helper()
	pjsip := "[udp]\ntype=transport\nprotocol=udp\nbind=192.168.0.1\n[tcp]\ntype=transport\nprotocol=tcp\nbind=192.168.0.1\n"
	extensions := "[lines]\n" + dialplan
	for i := range n {
		number := fmt.Sprint(1000 + i)
		pjsip += strings.ReplaceAll(`
[NUMBER]
type=endpoint
context=lines
disallow=all
allow=alaw
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
remove_existing=yes
`, "NUMBER", number)
	}
	return s.server.Asterisk(map[string]string{
		"pjsip.conf": pjsip, "extensions.conf": extensions, "pjsip_notify.conf": "[sync]\nEvent=>check-sync\\;reboot=false\n",
	})
}

const (
	ring = "exten => _1XXX,1,Dial(PJSIP/${EXTEN},60)\n"
	lamp = "exten => _1XXX,hint,PJSIP/${EXTEN}\n"
)

func TestCalls(t *testing.T) {
	for _, c := range []struct {
		name, keys string
		phones     int
		args       []string
		want       []string // from and to
	}{
		{"all", "", 7, []string{"--call"}, []string{"1000 1001", "1002 1003", "1004 1005"}},
		{"one over TCP", "account.1.sip_server.1.transport_type = 1\n", 4, []string{"--call=1"}, []string{"1000 1001"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.dnsmasq("--dhcp-option=66,192.168.0.1")
			s.asterisk(c.phones, ring+lamp)
			inventory := s.inventory(c.phones)
			for i := range c.phones {
				s.file(fmt.Sprintf("001565%06x.cfg", i+1), account(fmt.Sprint(1000+i))+c.keys)
			}
			r := s.boot(exitOK, append([]string{"--storm", "--register", "--release", "--inventory", inventory}, c.args...)...)
			var got []string
			for _, call := range r.Calls {
				got = append(got, call.From+" "+call.To)
				if !call.Audio || !call.Lamp || call.Error != "" || call.Setup <= 0 {
					t.Errorf("%+v", call)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("calls %q, want %q", got, c.want)
			}
		})
	}
}

func TestCallsFail(t *testing.T) {
	for _, c := range []struct {
		name, dialplan string
		deaf           bool // no audio gets through the exchange
		err            string
	}{
		{"nobody is called", lamp, false, "call of 1000 to 1001: 404"},
		{"another one answers", "exten => _1XXX,1,Answer()\n same => n,Echo()\n" + lamp, false, "something else than this phone has answered"},
		{"no audio", ring + lamp, true, "1001 does not hear 1000: no audio came"},
		{"no lamp", ring, false, "audio both ways, but watch 1001: 404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.dnsmasq("--dhcp-option=66,192.168.0.1")
			s.asterisk(2, c.dialplan)
			if c.deaf {
				s.server.Run("nft", "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; add rule inet deaf in udp dport 10000-20000 drop")
			}
			r := s.boot(exitFailed, "--register", "--call", "--inventory", s.inventory(2))
			if len(r.Calls) != 1 || r.Calls[0].OK() || !strings.Contains(r.Calls[0].Error, c.err) {
				t.Errorf("%+v, want %q", r.Calls, c.err)
			}
		})
	}
	t.Run("a single phone", func(t *testing.T) {
		s := newSite(t)
		s.dnsmasq("--dhcp-option=66,192.168.0.1")
		s.sip("udp", &registrar{})
		status, _, errs := s.phonesim("--register", "--call", "--inventory", s.inventory(1))
		if status != exitFailed || !strings.Contains(errs, "there are no two registered phones") {
			t.Errorf("exit status %d, %s", status, errs)
		}
	})
}

func TestCallTable(t *testing.T) {
	calls := []sim.Call{
		{From: "100", To: "101", Audio: true, Lamp: true},
		{From: "102", To: "103", Audio: true, Error: "audio both ways, but watch 103:\n404"},
	}
	var b bytes.Buffer
	if err := printCalls(&b, calls, maxRows); err != nil {
		t.Fatal(err)
	}
	if err := printCalls(&b, append(calls, calls[0]), 2); err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/calls.golden", b.String())
}
