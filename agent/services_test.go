package agent

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/problem"
)

func TestServiceProblems(t *testing.T) {
	for name, c := range map[string]struct {
		driver  config.Driver
		service control.Service
		want    problem.Severity // empty: no problem
	}{
		"runs":                             {config.DriverFreePBX, control.Service{Name: "mariadb", State: "active", Enabled: true}, ""},
		"starts":                           {config.DriverFreePBX, control.Service{Name: "mariadb", State: "activating", Enabled: true}, ""},
		"is off on purpose":                {config.DriverFreePBX, control.Service{Name: "mariadb", State: "inactive"}, ""},
		"FreePBX's database has failed":    {config.DriverFreePBX, control.Service{Name: "mariadb", State: "failed"}, problem.Error},
		"somebody's database has failed":   {config.DriverAsterisk, control.Service{Name: "mariadb", State: "failed"}, problem.Warning},
		"a service that should run is off": {config.DriverFreePBX, control.Service{Name: "fail2ban", State: "inactive", Enabled: true}, problem.Warning},
		"the exchange has failed":          {config.DriverAsterisk, control.Service{Name: "asterisk", State: "failed"}, problem.Error},
	} {
		t.Run(name, func(t *testing.T) {
			got := serviceProblems(c.driver, []control.Service{c.service})
			if (len(got) == 0) != (c.want == "") || len(got) > 0 && (got[0].Severity != c.want || !strings.Contains(got[0].Fix, c.service.Name)) {
				t.Errorf("serviceProblems() = %+v, want %q", got, c.want)
			}
		})
	}
}

func TestFreePBXProblems(t *testing.T) {
	c, _, err := config.Options{}.Parse("test", []byte("wan: {method: none}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c2 := range map[string]struct {
		seen     *freePBXState
		severity problem.Severity // empty: no problem
		fix      string
	}{
		"nothing is known":    {nil, "", ""},
		"not installed":       {&freePBXState{}, "", ""},
		"well":                {&freePBXState{install.OpeningDone, c.PBX.RTPPorts}, "", ""},
		"no ports known yet":  {&freePBXState{opening: install.OpeningDone}, "", ""},
		"guarded":             {&freePBXState{opening: install.OpeningGuarded}, problem.Warning, "http://192.168.1.1/admin"},
		"open to anybody":     {&freePBXState{opening: install.OpeningOpen}, problem.Error, "--admin-from"},
		"its own voice ports": {&freePBXState{install.OpeningDone, config.PortRange{First: 10000, Last: 20000}}, problem.Warning, "write 10100 and 19999"},
	} {
		t.Run(name, func(t *testing.T) {
			got := freePBXProblems(c2.seen, c)
			if (len(got) == 0) != (c2.severity == "") || len(got) > 0 && (got[0].Severity != c2.severity || !strings.Contains(got[0].Fix, c2.fix)) {
				t.Errorf("freePBXProblems() = %+v, want %q", got, c2.severity)
			}
		})
	}
	c.PBX.Driver = config.DriverNone
	if freePBXProblems(&freePBXState{opening: install.OpeningOpen}, c) != nil {
		t.Error("told of a FreePBX that is not ours")
	}
}
