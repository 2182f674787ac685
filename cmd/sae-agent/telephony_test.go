package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// withExchange lays out the same site with a plain Asterisk on the appliance, whose
// extensions have boxes for voice mail. More of the configuration can be replaced.
func withExchange(t *testing.T, replace ...string) (*appliance, *labtest.Asterisk) {
	t.Helper()
	a := prepareAppliance(t, strings.NewReplacer(append([]string{
		"driver: none", "driver: asterisk", "firewall: {enabled: false}", "firewall: {enabled: true}",
		`name: Bob}`, `name: Bob, secret: "needle-secret-bob", voicemail: true}`, `name: Carol}`, `name: Carol, voicemail: true}`,
	}, replace...)...).Replace(siteConfig))
	// Of the three modules for voice mail that Debian brings, one must be chosen: that which fails to load takes the
	// numbers of the others away with it.
	pbx := a.host.InstallAsterisk(map[string]string{
		"modules.conf": "[modules]\nautoload=yes\nnoload=app_voicemail_odbc.so\nnoload=app_voicemail_imap.so\n",
	})
	a.env = []string{"PATH=" + filepath.Dir(pbx.Program()) + ":" + os.Getenv("PATH")}
	pbx.Start()
	a.start()
	labtest.Eventually(t, func() error {
		if out, _ := a.run("pbx", "status", "--json"); !strings.Contains(out, `"in_line": true`) {
			return fmt.Errorf("the exchange is not in line:\n%s", out)
		}
		return nil
	})
	return a, pbx
}

// desk powers a Yealink phone on that stays on a desk.
func (a *appliance) desk(name, mac, extension string) {
	a.t.Helper()
	h := a.lab.Host(name)
	a.lan.Plug(h, "eth0")
	h.Up("eth0")
	fleet, _ := powerOn(a.t, h, sim.Phone{MAC: hardware(a.t, mac), Model: "T42U", Extension: extension})
	if r := fleet.Results()[0]; r.State != sim.Registered {
		a.t.Fatalf("the phone of %s: %+v", extension, r)
	}
}

// powerOn powers phones on that are behind one card of a host and stay on, until off is called or the test ends. It
// returns when each has come as far as it can.
func powerOn(t *testing.T, h *labtest.Host, phones ...sim.Phone) (fleet *sim.Fleet, off func()) {
	t.Helper()
	var err error
	h.Do(func() error {
		fleet, err = sim.New(phones, sim.Options{Interface: "eth0", Register: true, Stay: true, Timeout: 2 * time.Minute})
		return err
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := fleet.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	off = func() {
		stop()
		running.Wait()
	}
	t.Cleanup(off)
	<-fleet.Rested()
	return fleet, off
}

func hardware(t *testing.T, mac string) net.HardwareAddr {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	return hw
}

// soft plugs a softphone's machine in.
func (a *appliance) soft(name, addr string) *labtest.Host {
	a.t.Helper()
	h := a.lab.Host(name)
	a.lan.Plug(h, "eth0")
	h.Addr("eth0", addr+"/24")
	return h
}

// The telephony part of the checks at the end of the manual procedure: calls between
// two SIP stations (Linphone and Yealink), voice mail at *97, and the exchange's own
// record that confirms the routing.
func TestFinalChecksOfTelephony(t *testing.T) {
	a, pbx := withExchange(t)
	a.desk("yealink", aliceMAC, "100")
	const desk, bobs, carols = 400, 600, 900 // what each sends, in Hz
	bob := baresip(t, a.soft("bob", "192.168.1.201"), "192.168.1.201", "101", "needle-secret-bob", bobs)
	var link control.Link
	a.query(&link, "phones", "qr", "102")
	carol := linphone(t, a.soft("carol", "192.168.1.202"), link.URL, carols)

	t.Run("Linphone calls the Yealink", func(t *testing.T) {
		carol.call("100")
		carol.listens()
		carol.tell("terminate")
		carol.heardTone(desk)
	})
	t.Run("Linphone calls another softphone, and both hear each other", func(t *testing.T) {
		carol.call("101")
		bob.listens()
		carol.listens()
		carol.tell("terminate")
		carol.heardTone(bobs)
		bob.heardTone(carols)
	})
	t.Run("voice mail", func(t *testing.T) {
		carol.call("*97")
		carol.listens()
		carol.tell("terminate")
		carol.heardTone(0)
		bob.tell("/dial *97")
		bob.wait("Call established: sip:*97@192.168.1.1")
		bob.tell("/hangup")
	})
	t.Run("the exchange's record", func(t *testing.T) {
		labtest.Eventually(t, func() error {
			record, err := os.ReadFile(filepath.Join(pbx.Log(), "cdr-csv", "Master.csv"))
			if err != nil {
				return err
			}
			for _, want := range []string{`"102","100"`, `"102","101"`, `"102","*97"`, `"101","*97"`} {
				if !strings.Contains(string(record), want) {
					return fmt.Errorf("no call %s in the record:\n%s", want, record)
				}
			}
			return nil
		})
	})
	t.Run("verify", func(t *testing.T) { verifyWorks(t, a, pbx) })
}

func TestVerifyOverTLS(t *testing.T) {
	t.Parallel()
	a, _ := withExchange(t, "admin_password:", "transport: tls, admin_password:")
	if out := a.must("verify"); !strings.Contains(out, "(192.168.1.1:5061 over tls)") || !strings.Contains(out, "6 checks passed, 0 failed, 1 were not tried") {
		t.Errorf("verify says:\n%s", out)
	}
}

// verifyWorks has sae-agent verify find all well, and a secret that was changed by hand.
func verifyWorks(t *testing.T, a *appliance, pbx *labtest.Asterisk) {
	if out := a.must("verify"); !strings.Contains(out, "7 checks passed, 0 failed, 0 were not tried") || strings.Contains(out, "needle") {
		t.Errorf("verify says:\n%s", out)
	}
	if left := pbx.CLI("pjsip show endpoints"); strings.Contains(left, "9999") {
		t.Errorf("the test accounts are still there:\n%s", left)
	}
	changeSecret(t, pbx, "needle-secret-alice")
	a.fails("extension 100: the exchange refuses the secret of the file", "verify")
}

// changeSecret changes a secret in the exchange's files by hand.
func changeSecret(t *testing.T, pbx *labtest.Asterisk, secret string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pbx.Etc(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(data), secret) {
			continue
		}
		if err := os.WriteFile(f, []byte(strings.ReplaceAll(string(data), secret, "changed-by-hand")), 0o640); err != nil {
			t.Fatal(err)
		}
		pbx.CLI("pjsip reload")
		return
	}
	t.Fatalf("the secret is in no file of %v", files)
}
