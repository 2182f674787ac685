package setup

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// text is a configuration as it is written, with its notes; it must load.
func text(t *testing.T, c *config.Config, notes []string) string {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse("made", data); err != nil {
		t.Errorf("what was made does not load: %v", err)
	}
	return string(data) + "\nNOTES\n" + strings.Join(notes, "\n") + "\n"
}

func card(name, addr string, isDefault bool, owner string) Card {
	c := Card{Name: name, Default: isDefault, Owner: owner}
	if addr != "" {
		c.Addresses = []netip.Prefix{netip.MustParsePrefix(addr)}
	}
	return c
}

// ran is what sae-agent ran last.
func ran(wan string, method config.WANMethod) *config.Config {
	c := config.Default()
	c.WAN.Interface, c.WAN.Method = wan, method
	return c
}

func TestDraft(t *testing.T) {
	for name, m := range map[string]Machine{
		"seed":     {Hostname: "sae303.example", Timezone: "Europe/Paris", Language: "fr_FR.UTF-8", Cards: []Card{card("ens33", "203.0.113.7/24", true, "ifupdown"), card("ens34", "", false, "")}, SSH: SSH{[]uint16{22}, []uint16{22}}},
		"blank":    {Cards: []Card{card("enp1s0", "", false, ""), card("enp2s0", "", false, "")}},
		"same-net": {Hostname: "x", Cards: []Card{card("ens33", "192.168.1.7/24", true, "NetworkManager"), card("ens34", "", false, "")}, SSH: SSH{[]uint16{22, 2222}, []uint16{2222, 22, 1022}}},
		"three":    {Hostname: "x", Cards: []Card{card("ens33", "203.0.113.7/24", false, ""), card("ens34", "10.1.2.3/24", true, ""), card("ens35", "", false, "")}},
		"lan-set":  {Hostname: "x", Cards: []Card{card("ens33", "203.0.113.7/24", true, ""), card("ens34", "10.20.30.50/24", false, "ifupdown")}},
		"one-card": {Hostname: "x", Cards: []Card{card("enp0s20f0u1u2", "10.20.30.50/24", true, "NetworkManager")}, SSH: SSH{[]uint16{22}, []uint16{22}}},
		"ran":      {Hostname: "x", Cards: []Card{card("ens33", "", false, ""), card("ens34", "203.0.113.7/24", true, "")}, Ran: ran("ens34", config.WANDHCP)},
		"ran-else": {Hostname: "x", Cards: []Card{card("ens33", "203.0.113.7/24", true, "ifupdown"), card("ens34", "", false, "")}, Ran: ran("ens33", config.WANExternal)},
	} {
		t.Run(name, func(t *testing.T) {
			c, notes, err := Draft(m)
			if err != nil {
				t.Fatal(err)
			}
			golden.Equal(t, "testdata/draft-"+name+".golden", text(t, c, notes))
		})
	}
	if _, _, err := Draft(Machine{}); err == nil || !strings.Contains(err.Error(), "two are needed") {
		t.Errorf("no card: %v", err)
	}
}

func TestImport(t *testing.T) {
	base, _, err := Draft(Machine{Hostname: "sae303", Timezone: "Europe/Paris", Cards: []Card{card("ens33", "", true, ""), card("ens34", "", false, "")}})
	if err != nil {
		t.Fatal(err)
	}
	notes, err := Import(base, Sources{DHCPD: "testdata/dhcpd.conf", TFTP: "testdata/tftpboot"})
	if err != nil {
		t.Fatal(err)
	}
	c := base
	c.Provisioning.Root = "/tftpboot" // it was read from where the tests are
	golden.Equal(t, "testdata/import.golden", text(t, c, notes))
}

// The card with the default route is found on a real machine.
func TestInspect(t *testing.T) {
	l := labtest.New(t)
	host, provider, lan := l.Host("appliance"), l.Host("provider"), l.Host("phone")
	l.Connect(host, "ens33", provider, "eth0")
	l.Connect(host, "ens34", lan, "eth0")
	host.Addr("ens33", "203.0.113.7/24")
	host.Route("default", "via", "203.0.113.1")
	var m Machine
	host.Do(func() (err error) {
		m, err = Inspect(t.Context())
		return err
	})
	want := []Card{card("ens33", "203.0.113.7/24", true, ""), card("ens34", "", false, "")}
	if diff := cmp.Diff(want, m.Cards, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
