package services

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
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
			got := problems(c.driver, []control.Service{c.service})
			if (len(got) == 0) != (c.want == "") || len(got) > 0 && (got[0].Severity != c.want || !strings.Contains(got[0].Fix, c.service.Name)) {
				t.Errorf("problems() = %+v, want %q", got, c.want)
			}
		})
	}
}
