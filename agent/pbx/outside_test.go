package pbx_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

func TestOutside(t *testing.T) {
	from := func(addrs ...string) (l pbx.Line) {
		for _, a := range addrs {
			l.Registrations = append(l.Registrations, pbx.Registration{Remote: netip.MustParseAddrPort(a)})
		}
		return l
	}
	st := pbx.State{Lines: map[string]pbx.Line{
		"100": from("192.168.1.20:5060", "203.0.113.7:5060"), "101": from("203.0.113.7:5062", "198.51.100.9:1024"), "102": from("127.0.0.1:5062"), "103": {Registrations: []pbx.Registration{{}}},
	}}
	got := st.Outside(netip.MustParsePrefix("192.168.1.1/24"))
	if fmt.Sprint(got) != "[198.51.100.9 203.0.113.7]" {
		t.Errorf("%v", got)
	}
}
