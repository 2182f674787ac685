package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// exchange is an appliance with a real Asterisk, and phones that stay on.
type exchange struct {
	*appliance
	asterisk *labtest.Asterisk
	phones   *labtest.Process
}

const exchangeConfig = `site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33, method: dhcp}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100, force: true}
provisioning: {root: ROOT, blf: false}
pbx: {driver: asterisk}
backup: {window: off}
firewall: {enabled: false}
extensions:
  - {number: "100", name: Alice, secret: "needle-secret-alice"}
  - {number: "101", name: Bob, secret: "needle-secret-bob"}
  - {number: "102", name: Carol}
phones:
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "100"}
  - {mac: "00:15:65:00:00:02", model: T54W, extension: "101"}
`

// newExchange starts it all, and waits until both phones are registered.
func newExchange(t *testing.T) *exchange {
	x := new(exchange)
	x.appliance = newAppliance(t, exchangeConfig, func(a *appliance) {
		// A hand-made endpoint, which must outlive everything.
		x.asterisk = a.host.Asterisk(map[string]string{"pjsip.conf": "[hand]\ntype=endpoint\ncontext=from-hand\n"})
		a.env = []string{"PATH=" + filepath.Dir(x.asterisk.Program()) + ":" + os.Getenv("PATH")}
	})
	x.plugIn()
	x.waitRegistered(aliceMAC, bobMAC)
	return x
}

// plugIn powers two simulated phones on, which stay on.
func (x *exchange) plugIn() {
	x.t.Helper()
	program := filepath.Join(x.t.TempDir(), "phonesim")
	build := exec.CommandContext(x.t.Context(), "go", "build", "-o", program, "../phonesim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		x.t.Fatalf("build phonesim: %v\n%s", err, out)
	}
	x.write("phones.json", `[{"mac":"001565000001","model":"T42U"},{"mac":"001565000002","model":"T54W"}]`)
	host := x.lab.Host("phones")
	x.lan.Plug(host, "eth0")
	x.phones = host.Start(program, "--interface", "eth0", "--inventory", x.path("phones.json"), "--register", "--stay")
}

// phoneState is one phone as the operator sees it.
func (x *exchange) phoneState(mac string) control.Phone {
	x.t.Helper()
	var p control.Phone
	x.query(&p, "phones", "show", mac)
	return p
}

func (x *exchange) waitRegistered(macs ...string) {
	x.t.Helper()
	for _, mac := range macs {
		labtest.Eventually(x.t, func() error {
			if p := x.phoneState(mac); p.State != "registered" {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
	}
}

// accounts are Asterisk's endpoints.
func (x *exchange) accounts() string { return x.asterisk.CLI("pjsip show endpoints") }

// secret is what an extension is registered with.
func (x *exchange) secret(number string) string {
	x.t.Helper()
	return strings.TrimSpace(x.must("extensions", "secret", number))
}

// inFile replaces what matches in the configuration file.
func (x *exchange) inFile(pattern, text string) {
	x.t.Helper()
	before := x.read("config.yaml")
	after := regexp.MustCompile(pattern).ReplaceAllLiteralString(before, text)
	if after == before {
		x.t.Fatalf("nothing matches %s in\n%s", pattern, before)
	}
	x.write("config.yaml", after)
}

// expires is when the registration for an extension ends, in Unix time; 0: there is none.
func (x *exchange) expires(number string) int64 {
	m := regexp.MustCompile(`(?m)^/registrar/contact/` + number + `;@.*"expiration_time":"(\d+)"`).FindStringSubmatch(x.asterisk.CLI("database show registrar/contact"))
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		x.t.Fatal(err)
	}
	return n
}

// reregisters waits until do has made the phone of an extension fetch its file and register anew.
func (x *exchange) reregisters(mac, number string, do func()) {
	x.t.Helper()
	before := x.expires(number)
	labtest.Eventually(x.t, func() error { // registrations are told apart by their second
		if time.Now().Add(10*time.Minute).Unix() <= before {
			return errors.New("it has just registered")
		}
		return nil
	})
	fetched := x.phoneState(mac).LastFetch
	do()
	labtest.Eventually(x.t, func() error {
		if p, now := x.phoneState(mac), x.expires(number); !p.LastFetch.After(fetched) || p.State != "registered" || now <= before {
			return fmt.Errorf("%+v, registered until %d, was %d", p, now, before)
		}
		return nil
	})
}

// rotates changes secrets by hand, and by taking phones away.
func (x *exchange) rotates(t *testing.T) {
	x.waitRegistered(aliceMAC, bobMAC)
	old := x.secret("100")
	if old != "needle-secret-alicia" {
		t.Errorf("the secret of 100 is %q", old)
	}
	x.fails("no extension 999", "extensions", "rotate", "999")
	if out := x.must("extensions", "rotate", "100", "--dry-run"); !strings.Contains(out, "secret") || x.secret("100") != old {
		t.Errorf("only shown:\n%s", out)
	}
	x.reregisters(aliceMAC, "100", func() { x.must("extensions", "rotate", "100") })
	if now := x.secret("100"); now == old || !strings.Contains(x.asterisk.CLI("pjsip show auth 100"), now) {
		t.Errorf("the exchange has another secret than %q", now)
	}

	// One that was generated is changed by itself, when a phone is taken out of the file.
	x.inFile(`name: Bob, secret: "[^"]*"`, "name: Bob")
	x.reregisters(bobMAC, "101", func() { x.must("apply") })
	old = x.secret("101")
	const bobs = `  - {mac: "00:15:65:00:00:02", model: T54W, extension: "101"}`
	x.edit(bobs, "")
	x.must("apply")
	labtest.Eventually(t, func() error {
		if now := x.secret("101"); now == old || x.expires("101") != 0 {
			return fmt.Errorf("changed: %v, registered until %d", now != old, x.expires("101"))
		}
		return nil
	})

	// One that is in the file is changed there.
	old = x.secret("100")
	x.must("phones", "replace", aliceMAC, "00:15:65:00:00:09")
	if file := x.read("config.yaml"); strings.Contains(file, old) || strings.Contains(file, aliceMAC) {
		t.Errorf("after the replacement:\n%s", file)
	}
	if x.expires("100") != 0 {
		t.Error("the former phone still rings")
	}
	if log := x.process.Output(); !strings.Contains(log, "show secret") {
		t.Errorf("nobody knows who asked for the secret:\n%s", log)
	}
	x.edit("name: Bob}", `name: Bob, secret: "needle-secret-bob"}`)
	x.edit("model: T42U, extension: \"100\"}\n", "model: T42U, extension: \"100\"}\n"+bobs+"\n")
}

// What an operator does with an exchange, from the first phone to its recovery.
func TestExchange(t *testing.T) {
	t.Parallel()
	x := newExchange(t)

	t.Run("what is seen", func(t *testing.T) {
		labtest.Eventually(t, func() error {
			var list []control.ExtensionStatus
			x.query(&list, "extensions")
			if len(list) != 3 || len(list[0].Registrations) != 1 || list[0].Registrations[0].RoundTrip == 0 || len(list[0].Phones) != 1 || len(list[2].Registrations) != 0 {
				return fmt.Errorf("%+v", list)
			}
			if r := list[0].Registrations[0]; !strings.HasPrefix(r.Address, "192.168.1.") || !strings.Contains(r.UserAgent, "Yealink SIP-T42U") {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
		if out := x.must("pbx", "status"); !strings.Contains(out, "asterisk, well, 2 of 3 extensions registered") {
			t.Errorf("pbx status:\n%s", out)
		}
		if out := x.must("phones"); strings.Count(out, "registered") != 2 {
			t.Errorf("phones:\n%s", out)
		}
		if metrics := x.host.Run("curl", "-sS", "http://192.168.1.1:9303/metrics"); !strings.Contains(metrics, `sae_extension_registered{extension="100"} 1`) {
			t.Errorf("metrics:\n%s", metrics)
		}
	})
	t.Run("resync", func(t *testing.T) {
		before := x.phoneState(aliceMAC).LastFetch
		var list []control.Resync
		x.query(&list, "phones", "resync", aliceMAC)
		if len(list) != 1 || list[0].State != control.ResyncDone || !x.phoneState(aliceMAC).LastFetch.After(before) {
			t.Errorf("%+v", list)
		}
	})
	t.Run("restart", func(t *testing.T) {
		before := strings.Count(x.must("logs", "--phone", aliceMAC), "looks for an address")
		var list []control.Resync
		x.query(&list, "phones", "restart", aliceMAC)
		if len(list) != 1 || list[0].State != control.ResyncDone {
			t.Fatalf("%+v", list)
		}
		if after := strings.Count(x.must("logs", "--phone", aliceMAC), "looks for an address"); after <= before {
			t.Errorf("it has not asked for its address, as a phone does that starts:\n%s", x.must("logs", "--phone", aliceMAC))
		}
		labtest.Eventually(t, func() error {
			if state := x.phoneState(aliceMAC).State; state != "registered" {
				return fmt.Errorf("it is %s", state)
			}
			return nil
		})
	})
	t.Run("one apply changes a secret and a name everywhere", func(t *testing.T) {
		x.edit("needle-secret-alice", "needle-secret-alicia")
		x.edit("name: Alice", "name: Alicia")
		if out := x.must("apply"); !strings.Contains(out, "change extension 100") || strings.Contains(out, "needle") {
			t.Errorf("apply:\n%s", out)
		}
		if out := x.asterisk.CLI("pjsip show auth 100"); !strings.Contains(out, "needle-secret-alicia") {
			t.Errorf("the exchange has not got it:\n%s", out)
		}
		before := x.phoneState(aliceMAC).LastFetch
		labtest.Eventually(t, func() error { // the phone, without anybody telling it
			if out := x.asterisk.CLI("pjsip show endpoint 100"); !strings.Contains(out, `"Alicia" <100>`) {
				return errors.New(out)
			}
			if log := x.process.Output(); !strings.Contains(log, "asked a phone to fetch its file, which has changed") || x.phoneState(aliceMAC).LastFetch.Before(before) {
				return errors.New("the phone was not asked")
			}
			return nil
		})
		labtest.Eventually(t, func() error { // and how long that took is told
			took := regexp.MustCompile(`(?m)^extension 100: changed in \d+\.\d s \(` + aliceMAC).FindString(x.must("pbx", "status"))
			if took == "" || !strings.Contains(x.process.Output(), "extension changed at the exchange and its phone") {
				return errors.New("nothing says how long the change took")
			}
			t.Log(took)
			return nil
		})
		x.waitRegistered(aliceMAC)
		x.must("phones", "resync", "--all")
	})
	t.Run("rotate", x.rotates)
	t.Run("removal", func(t *testing.T) {
		x.edit("  - {number: \"101\", name: Bob, secret: \"needle-secret-bob\"}\n", "")
		x.edit("  - {mac: \"00:15:65:00:00:02\", model: T54W, extension: \"101\"}\n", "")
		x.must("apply", "--confirm", "1h")
		if out := x.accounts(); !strings.Contains(out, " 101") {
			t.Errorf("gone before the confirmation:\n%s", out)
		}
		x.must("confirm")
		labtest.Eventually(t, func() error {
			if out := x.accounts(); strings.Contains(out, " 101") || !strings.Contains(out, " 100") || !strings.Contains(out, " hand") {
				return errors.New(out)
			}
			return nil
		})
		if p := x.phoneState(bobMAC); p.Extension != "" || p.State != "pending" {
			t.Errorf("its phone: %+v", p)
		}
	})
	t.Run("left alone", func(t *testing.T) {
		if out, status := x.run("pbx", "pause", "soon"); status != exitUsage {
			t.Errorf("a pause of no length: %d\n%s", status, out)
		}
		if out, status := x.run("pbx", "pause", "25h"); status != exitFailed || !strings.Contains(out, "24h") {
			t.Errorf("a pause that is too long: %d\n%s", status, out)
		}
		if out := x.must("pbx", "pause"); !strings.Contains(out, "left alone until") {
			t.Errorf("pause:\n%s", out)
		}
		x.edit("name: Alicia", "name: Alexandra")
		if out, status := x.run("apply"); status != exitFailed || !strings.Contains(out, "left alone") {
			t.Errorf("apply during a pause: %d\n%s", status, out)
		}
		if out, _ := x.run("pbx", "status"); !strings.Contains(out, "Left alone     until") {
			t.Errorf("status:\n%s", out)
		}
		if out := x.must("status"); !strings.Contains(out, "sae-agent pbx resume") {
			t.Errorf("status does not say how it ends:\n%s", out)
		}
		if out := x.asterisk.CLI("pjsip show endpoint 100"); strings.Contains(out, "Alexandra") {
			t.Errorf("changed during the pause:\n%s", out)
		}
		x.must("pbx", "resume")
		labtest.Eventually(t, func() error {
			if out := x.asterisk.CLI("pjsip show endpoint 100"); !strings.Contains(out, `"Alexandra" <100>`) {
				return errors.New(out)
			}
			return nil
		})
	})
	t.Run("killed", func(t *testing.T) {
		x.asterisk.Kill()
		labtest.Eventually(t, func() error {
			if out, status := x.run("status"); status != exitFailed || !strings.Contains(out, "the exchange does not work") {
				return errors.New(out)
			}
			return nil
		})
		labtest.Eventually(t, func() error {
			out, _ := x.run("pbx", "status")
			for _, want := range []string{"died: there is no process any more", "was restarted", "answers again after", ", well,"} {
				if !strings.Contains(out, want) {
					return errors.New(out)
				}
			}
			return nil
		})
		if out := x.must("status"); !strings.Contains(out, "the exchange had to be restarted") {
			t.Errorf("status tells nothing of it:\n%s", out)
		}
		x.must("pbx", "restart", "--force")
		labtest.Eventually(t, func() error {
			if out, status := x.run("pbx", "status"); status != exitOK || !strings.Contains(out, "by hand") {
				return errors.New(out)
			}
			return nil
		})
	})
	t.Run("no secret in the log", func(t *testing.T) {
		if log := x.process.Output(); strings.Contains(log, "needle") {
			t.Errorf("the log has a secret:\n%s", log)
		}
	})
}
