package stacks

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/stacks"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/jitsi"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/nextcloud"
)

func TestDesiredStacks(t *testing.T) {
	c := parttest.Config(t, `extensions: [{number: "100", name: Alice}, {number: "101", secret: "correct-horse-battery"}]`,
		`extensions: [{number: "100", name: Alice}, {number: "1000", secret: "correct-horse-battery"}]
provisioning: {transport: tls}
stacks: {jitsi: {enabled: true}, nextcloud: {enabled: true, users: true}, update: {window: 22:00-01:30, policy: minor}, registry: "r.example:5000"}`)
	secrets := map[string]string{
		jicofoSecret: "a", jvbSecret: "b", jigasiSecret: "c", cloudAdminSecret: "d", cloudDBSecret: "e", cloudDBRootSecret: "f",
		cloudUserSecret("100"): "g", cloudUserSecret("1000"): "h", config.SecretName("1000"): "not this one",
	}
	for _, name := range new(Part).SecretNames(c) {
		if secrets[name] == "" {
			t.Errorf("the password %s is not used", name)
		}
	}
	want := stacks.Config{
		Site:     kind.Site{Addr: c.LAN.Address.Addr(), Names: []string{"sae303"}, Timezone: "Europe/Paris", Certificate: []byte("cert"), Key: []byte("key")},
		Registry: "r.example:5000", Update: stacks.UpdateConfig{Policy: stacks.PolicyMinor, Start: 22 * 60, End: 90},
		Kinds: []kind.Kind{
			jitsi.Config{
				HTTPSPort: 8443, MediaPort: 10000, GatewayFirst: 20000, GatewayLast: 20050, SIPServer: "192.168.1.1", SIPPort: 5060, SIPTransport: "udp",
				Gateway:   jitsi.Gateway{Extension: "1000", AccessNumber: "8000", Room: "sae303", Header: "X-Room-Name"},
				SIPSecret: "correct-horse-battery", JicofoSecret: "a", JVBSecret: "b", JigasiSecret: "c",
			},
			nextcloud.Config{
				HTTPSPort: 7443, AdminSecret: "d", DBSecret: "e", DBRootSecret: "f",
				Users: []kind.User{{Name: "100", DisplayName: "Alice", Password: "g"}, {Name: "1000", DisplayName: "1000", Password: "h"}},
			},
		},
	}
	if d := cmp.Diff(want, Desired(c, secrets, []string{"sae303"}, []byte("cert"), []byte("key")), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if off := Desired(parttest.Config(t), nil, nil, nil, nil); len(off.Kinds) != 0 || len(new(Part).SecretNames(parttest.Config(t))) != 0 {
		t.Errorf("stacks that are off: %+v", off)
	}
}

func TestStackProblems(t *testing.T) {
	now := time.Now()
	list := []control.Stack{
		{Name: "jitsi", State: "healthy", Since: now.Add(-time.Hour), Gateway: gatewayMissing},
		{Name: "nextcloud", State: "blocked", Cause: "disk-full", Problem: "the disk is full", Fix: "make room", Notes: []control.StackNote{{What: "Talk is not installed", Fix: "wait"}}},
	}
	history := []stacks.Record{{Stack: "nextcloud", Outcome: stacks.Updated}, {Stack: "nextcloud", Outcome: stacks.RolledBack, Detail: "it never got healthy"}, {Stack: "jitsi", Outcome: stacks.Updated}}
	var got []string
	for _, p := range problems(list, history, now) {
		if p.Fix == "" || p.Part != "stacks" {
			t.Errorf("%+v", p)
		}
		got = append(got, string(p.Severity)+" "+p.What)
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"warning jitsi: its SIP gateway is not registered", "error nextcloud: the disk is full", "warning nextcloud: Talk is not installed", "warning nextcloud: the last update was rolled back: it never got healthy"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d problems:\n%s", len(got), text)
	}
	list[0].Since = now // it may still be on its way
	if fresh := problems(list[:1], nil, now); len(fresh) != 0 {
		t.Errorf("problems of a gateway that has just started: %+v", fresh)
	}
}
