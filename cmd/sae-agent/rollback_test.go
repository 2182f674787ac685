package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// lanIs waits until the LAN card has an address and lacks another.
func (a *appliance) lanIs(want, not string) {
	a.t.Helper()
	labtest.Eventually(a.t, func() error {
		out := a.host.Run("ip", "-4", "-o", "addr", "show", "dev", "ens34")
		if !strings.Contains(out, want+"/24") || strings.Contains(out, not+"/24") {
			return fmt.Errorf("want %s: %s", want, out)
		}
		return nil
	})
}

// moveLAN edits the file to another LAN.
func (a *appliance) moveLAN(from, to string) {
	a.t.Helper()
	a.edit("address: "+from+".1/24", "address: "+to+".1/24")
	a.edit("range: "+from+".10-"+from+".100", "range: "+to+".10-"+to+".100")
}

func (a *appliance) fails(want string, args ...string) {
	a.t.Helper()
	if out, status := a.run(args...); status == exitOK || !strings.Contains(out, want) {
		a.t.Errorf("%q: status %d, want %q\n%s", args, status, want, out)
	}
}

func TestConfirmedChangeStays(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.fails("nothing waits", "confirm")
	a.moveLAN("192.168.1", "192.168.2")
	if out := a.must("apply", "--confirm", "1h"); !strings.Contains(out, "'sae-agent confirm' keeps it") {
		t.Errorf("apply says:\n%s", out)
	}
	a.lanIs("192.168.2.1", "192.168.1.1")
	a.fails("waits for its confirmation", "apply")
	if out, _ := a.run("status"); !strings.Contains(out, "configuration 2 waits for its confirmation, and is undone at") {
		t.Errorf("status:\n%s", out)
	}
	a.must("confirm")
	a.fails("nothing waits", "confirm")
	a.must("rollback", "--pending", "2") // a timer that could not be stopped
	a.lanIs("192.168.2.1", "192.168.1.1")
	a.must("apply")
}

func TestUnconfirmedChangeIsUndoneThoughTheDaemonIsDead(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.moveLAN("192.168.1", "192.168.2")
	a.must("apply", "--confirm", "10s")
	a.lanIs("192.168.2.1", "192.168.1.1")
	if err := a.process.Kill(); err == nil {
		t.Error("the daemon ended by itself")
	}
	a.lanIs("192.168.1.1", "192.168.2.1")
	a.start() // waits for an answer from 192.168.1.1
	var all []control.Applied
	a.query(&all, "rollback", "--list")
	if len(all) != 1 || all[0].Number != 1 || !all[0].Runs || all[0].Pending {
		t.Errorf("history: %+v", all)
	}
}

func TestUnconfirmedChangeIsUndoneByTheDaemon(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.moveLAN("192.168.1", "192.168.2")
	a.must("apply", "--confirm", "10s")
	a.lanIs("192.168.2.1", "192.168.1.1")
	a.lanIs("192.168.1.1", "192.168.2.1")
	a.fails("nothing waits", "confirm")
	var st control.Status
	out, _ := a.run("status", "--json") // DHCP may be on its way back yet
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatalf("status: %v\n%s", err, out)
	}
	if !st.Config.NotApplied || st.Config.Number != 1 || !st.Config.Until.IsZero() {
		t.Errorf("status: %+v", st.Config)
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.fails("there is no earlier configuration", "rollback")
	a.moveLAN("192.168.1", "192.168.2")
	a.must("apply")
	a.moveLAN("192.168.2", "192.168.3")
	a.must("apply", "--confirm", "1h")
	a.lanIs("192.168.3.1", "192.168.2.1")
	if out := a.must("rollback", "--list"); !strings.Contains(out, "runs, waits for its confirmation") {
		t.Errorf("list:\n%s", out)
	}
	a.must("rollback")
	a.lanIs("192.168.2.1", "192.168.3.1")
	a.must("rollback", "1")
	a.lanIs("192.168.1.1", "192.168.2.1")
	a.fails("no configuration is kept with the number 77", "rollback", "77")
	if err := a.process.Kill(); err == nil {
		t.Error("the daemon ended by itself")
	}
	if out := a.must("rollback", "2", "--state-dir", a.path("state")); !strings.Contains(out, "The daemon does not answer") {
		t.Errorf("without the daemon:\n%s", out)
	}
	a.lanIs("192.168.2.1", "192.168.1.1")
	if out := a.must("rollback", "--list", "--state-dir", a.path("state")); strings.Count(out, "\n") != 5 {
		t.Errorf("list without the daemon:\n%s", out)
	}
	for _, args := range [][]string{{"apply", "--confirm", "0s"}, {"rollback", "first"}, {"apply", "--confirm", "soon"}} {
		if out, status := a.run(args...); status != exitUsage {
			t.Errorf("%q: status %d\n%s", args, status, out)
		}
	}
}
