package exchange

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// accounts lists a desired exchange's accounts with their secrets.
func accounts(d pbx.Desired) map[string]string {
	out := make(map[string]string)
	for _, e := range d.Extensions {
		out[e.Number] = e.Name + " " + e.Secret.Reveal()
	}
	if d.Gateway != nil {
		out["gateway"] = d.Gateway.Number + " " + d.Gateway.Secret.Reveal() + " " + d.Gateway.AccessNumber
	}
	return out
}

// What the driver finds out about the exchange is in the status, and with that in doctor.
func TestWhatTheDriverSaysIsShown(t *testing.T) {
	silent := problem.Problem{ID: problem.FreePBXAddress, Severity: problem.Error, What: "the exchange tells phones 203.0.113.9"}
	got := outcomeProblems(pbx.Outcome{RestartDue: "*97 is dead", Problems: []problem.Problem{silent}, Err: pbx.ErrPaused})
	var ids []problem.ID
	for _, p := range got {
		ids = append(ids, p.ID)
	}
	if diff := cmp.Diff([]problem.ID{problem.FreePBXAddress, problem.PBXRestartDue, problem.PBXPaused}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A group that rings one after the other gives up when the last one has not answered.
func TestGroups(t *testing.T) {
	if got := groupsOf(parttest.Config(t)); got == nil || len(got) > 0 {
		t.Errorf("without groups: %#v", got)
	}
	cfg := parttest.Config(t, "extensions:", `pbx: {driver: asterisk}
groups:
  - {number: "600", name: Office, members: ["100", "101"]}
  - {number: "601", members: ["101", "100"], strategy: hunt, timeout: 15s}
extensions:`)
	first, second := control.RingGroupMember{Number: "100", Name: cfg.Extension("100").Name}, control.RingGroupMember{Number: "101", Name: cfg.Extension("101").Name}
	want := []control.RingGroup{
		{Number: "600", Name: "Office", Members: []control.RingGroupMember{first, second}, Strategy: "ringall", Ring: 20 * time.Second, GivesUp: 20 * time.Second},
		{Number: "601", Name: "601", Members: []control.RingGroupMember{second, first}, Strategy: "hunt", Ring: 15 * time.Second, GivesUp: 30 * time.Second},
	}
	if diff := cmp.Diff(want, groupsOf(cfg)); diff != "" || first.Name == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDesiredExchange(t *testing.T) {
	secrets := map[string]string{"extension/100": "made-for-100", "extension/1000": "made-for-1000", managerSecret: "made-for-us"}
	jitsi := "stacks: {jitsi: {enabled: true}}\nphones:"
	for name, tt := range map[string]struct {
		edit       []string
		facts      Facts
		accounts   map[string]string
		transports string
	}{
		"plain": {
			nil, Facts{},
			map[string]string{"100": "Alice made-for-100", "101": "101 correct-horse-battery"},
			"[{udp 192.168.1.1:5060} {tcp 192.168.1.1:5060}]",
		},
		"the gateway's account is made": {
			[]string{"phones:", jitsi}, Facts{},
			map[string]string{"100": "Alice made-for-100", "101": "101 correct-horse-battery", "gateway": "1000 made-for-1000 8000"},
			"[{udp 192.168.1.1:5060} {tcp 192.168.1.1:5060}]",
		},
		"the gateway's account is in the file": {
			[]string{"phones:", jitsi, `number: "101"`, `number: "1000"`}, Facts{},
			map[string]string{"100": "Alice made-for-100", "gateway": "1000 correct-horse-battery 8000"},
			"[{udp 192.168.1.1:5060} {tcp 192.168.1.1:5060}]",
		},
		"TLS for phones, and SIP from the Internet": {
			[]string{"dhcp:", "firewall: {wan_allow: [sips]}\nprovisioning: {transport: tls}\ndhcp:"}, Facts{},
			map[string]string{"100": "Alice made-for-100", "101": "101 correct-horse-battery"},
			"[{udp 0.0.0.0:5060} {tcp 0.0.0.0:5060} {tls 0.0.0.0:5061}]",
		},
		"accounts for a test": {
			nil, Facts{TestAccounts: []pbx.Extension{{Number: "9901", Name: "test", Secret: "x"}}},
			map[string]string{"100": "Alice made-for-100", "101": "101 correct-horse-battery", "9901": "test x"},
			"[{udp 192.168.1.1:5060} {tcp 192.168.1.1:5060}]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := Desired(parttest.Config(t, tt.edit...), secrets, tt.facts)
			if diff := cmp.Diff(tt.accounts, accounts(x.want)); diff != "" {
				t.Error(diff)
			}
			if got := fmt.Sprint(x.want.Transports); got != tt.transports {
				t.Errorf("listens on %s, want %s", got, tt.transports)
			}
			if x.want.Language != "fr" || x.want.ManagerSecret.Reveal() != "made-for-us" || x.sip.String() != "192.168.1.1:5060" {
				t.Errorf("%+v", x)
			}
		})
	}
}
