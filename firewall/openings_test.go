package firewall

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What people are told of a change: who may reach what, and nothing that stays.
func TestPlanOpenings(t *testing.T) {
	closed, opened := office(), office()
	closed.Services[5].WAN = false // SIP over UDP
	opened.Services = append(opened.Services, Service{Name: "wan_allow 2222/tcp", Protocol: "tcp", First: 2222, Last: 2222, WAN: true, LAN: true})
	moved := office()
	moved.WAN, moved.Trusted = "ens35", nil
	off := office()
	off.Disabled = true
	noShield := office()
	noShield.Shield = Shield{}
	for name, test := range map[string]struct {
		from, to Config
		want     []string
	}{
		"nothing": {office(), office(), nil},
		"a service closes to strangers": {office(), closed, []string{
			"- the Internet to the appliance: SIP, 5060/udp", "+ 2001:db8:1::/48 to the appliance: SIP, 5060/udp",
			"+ 203.0.113.0/24 to the appliance: SIP, 5060/udp", "+ 203.0.113.7/32 to the appliance: SIP, 5060/udp",
		}},
		"a port opens": {office(), opened, []string{"+ the Internet to the appliance: 2222/tcp", "+ the LAN to the appliance: 2222/tcp"}},
		"another card": {office(), moved, []string{
			"- the LAN to the Internet: everything, by ens33", "- wg* to everything: everything", "+ the LAN to the Internet: everything, by ens35",
		}},
		"the rules alone": {office(), noShield, nil},
	} {
		if diff := cmp.Diff(test.want, PlanOpenings(test.from, test.to)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if got := PlanOpenings(office(), off); got[len(got)-1] != "+ everybody to everything: everything, the firewall is off" || !strings.HasPrefix(got[0], "- ") {
		t.Errorf("off: %q", got)
	}
}
