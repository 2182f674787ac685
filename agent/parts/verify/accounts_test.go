package verify

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/verify"
)

func TestTestNumbersAreNobodys(t *testing.T) {
	c := &config.Config{Extensions: []config.Extension{{Number: "100"}, {Number: "99990000"}}}
	c.Stacks.Jitsi.SIPExtension = "99990002"
	got := testNumbers(func(number string) bool { return numberTaken(c, number) || number == "99990001" })
	if want := [2]string{"99990003", "99990004"}; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPhonesToVerify(t *testing.T) {
	addr := netip.MustParseAddr
	c := &config.Config{Extensions: []config.Extension{{Number: "100"}, {Number: "101"}, {Number: "102"}}}
	known := []Phone{
		{MAC: "00:15:65:00:00:01", Extension: "100", Addr: addr("192.168.1.20"), Registered: true},
		{MAC: "00:15:65:00:00:02", Extension: "101", Addr: addr("192.168.1.21"), Trouble: "the exchange refused its password"},
		{MAC: "00:15:65:00:00:03", Addr: addr("192.168.1.22")},
	}
	register := func(address, uri string, reach pbx.Reach) pbx.Registration {
		return pbx.Registration{Remote: netip.AddrPortFrom(addr(address), 5060), URI: uri, Reach: reach}
	}
	st := pbx.State{Lines: map[string]pbx.Line{
		"100": {Registrations: []pbx.Registration{register("192.168.1.20", "sip:100@192.168.1.20:5060", pbx.Unknown)}},
		"102": {Registrations: []pbx.Registration{
			register("192.168.1.50", "sip:102@192.168.1.50;transport=TCP", pbx.Reachable), register("192.168.1.51", "sip:102@192.168.1.51;transport=tls", pbx.Unreachable),
		}},
		"900": {Registrations: []pbx.Registration{register("192.168.1.60", "sip:900@192.168.1.60", pbx.Reachable)}}, // by hand
	}}
	want := []verify.Phone{
		{Name: "00:15:65:00:00:01", Extension: "100", Contact: "sip:100@192.168.1.20:5060", Transport: "udp", Reachable: true},
		{Name: "00:15:65:00:00:02", Extension: "101", Problem: "the exchange refused its password"},
		{Name: "at 192.168.1.50", Extension: "102", Contact: "sip:102@192.168.1.50;transport=TCP", Transport: "tcp", Reachable: true},
		{Name: "at 192.168.1.51", Extension: "102", Contact: "sip:102@192.168.1.51;transport=tls", Transport: "tls"},
	}
	if diff := cmp.Diff(want, phonesToVerify(c, known, st)); diff != "" {
		t.Error(diff)
	}
}
