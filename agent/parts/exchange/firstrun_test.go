package exchange

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/problem"
)

func TestFreePBXProblems(t *testing.T) {
	c, _, err := config.Options{}.Parse("test", []byte("wan: {method: none}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c2 := range map[string]struct {
		seen     *openState
		severity problem.Severity // empty: no problem
		fix      string
	}{
		"nothing is known":    {nil, "", ""},
		"not installed":       {&openState{}, "", ""},
		"well":                {&openState{install.OpeningDone, c.PBX.RTPPorts}, "", ""},
		"no ports known yet":  {&openState{opening: install.OpeningDone}, "", ""},
		"guarded":             {&openState{opening: install.OpeningGuarded}, problem.Warning, "http://192.168.1.1/admin"},
		"open to anybody":     {&openState{opening: install.OpeningOpen}, problem.Error, "--admin-from"},
		"its own voice ports": {&openState{install.OpeningDone, config.PortRange{First: 10000, Last: 20000}}, problem.Warning, "write 10100 and 19999"},
	} {
		t.Run(name, func(t *testing.T) {
			got := freePBXProblems(c2.seen, c)
			if (len(got) == 0) != (c2.severity == "") || len(got) > 0 && (got[0].Severity != c2.severity || !strings.Contains(got[0].Fix, c2.fix)) {
				t.Errorf("freePBXProblems() = %+v, want %q", got, c2.severity)
			}
		})
	}
	c.PBX.Driver = config.DriverNone
	if freePBXProblems(&openState{opening: install.OpeningOpen}, c) != nil {
		t.Error("told of a FreePBX that is not ours")
	}
}
