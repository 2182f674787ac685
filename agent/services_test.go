package agent

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
)

func TestServiceProblems(t *testing.T) {
	for name, c := range map[string]struct {
		driver  config.Driver
		service control.Service
		want    control.Severity // empty: no problem
	}{
		"runs":                             {config.DriverFreePBX, control.Service{Name: "mariadb", State: "active", Enabled: true}, ""},
		"starts":                           {config.DriverFreePBX, control.Service{Name: "mariadb", State: "activating", Enabled: true}, ""},
		"is off on purpose":                {config.DriverFreePBX, control.Service{Name: "mariadb", State: "inactive"}, ""},
		"FreePBX's database has failed":    {config.DriverFreePBX, control.Service{Name: "mariadb", State: "failed"}, control.SeverityError},
		"somebody's database has failed":   {config.DriverAsterisk, control.Service{Name: "mariadb", State: "failed"}, control.SeverityWarning},
		"a service that should run is off": {config.DriverFreePBX, control.Service{Name: "fail2ban", State: "inactive", Enabled: true}, control.SeverityWarning},
		"the exchange has failed":          {config.DriverAsterisk, control.Service{Name: "asterisk", State: "failed"}, control.SeverityError},
	} {
		t.Run(name, func(t *testing.T) {
			got := serviceProblems(c.driver, []control.Service{c.service})
			if (len(got) == 0) != (c.want == "") || len(got) > 0 && (got[0].Severity != c.want || !strings.Contains(got[0].Fix, c.service.Name)) {
				t.Errorf("serviceProblems() = %+v, want %q", got, c.want)
			}
		})
	}
}

func TestOpeningProblems(t *testing.T) {
	c, _, err := config.Options{}.Parse("test", []byte("wan: {method: none}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for opening, want := range map[install.Opening]control.Severity{
		install.OpeningDone: "", install.OpeningGuarded: control.SeverityWarning, install.OpeningOpen: control.SeverityError, "": "",
	} {
		got := openingProblems(&opening, c)
		if (len(got) == 0) != (want == "") || len(got) > 0 && (got[0].Severity != want || !strings.Contains(got[0].Fix, "http://192.168.1.1/admin")) {
			t.Errorf("%q: %+v, want %q", opening, got, want)
		}
	}
	if got := openingProblems(nil, c); got != nil {
		t.Errorf("nothing is known: %+v", got)
	}
	c.PBX.Driver = config.DriverNone
	if opening := install.OpeningOpen; openingProblems(&opening, c) != nil {
		t.Error("told of a FreePBX that is not ours")
	}
}
