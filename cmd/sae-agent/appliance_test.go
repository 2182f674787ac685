package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// programEnv makes the test binary the program itself.
const programEnv = "SAE_AGENT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
	}
	if err := os.Setenv("LC_ALL", "C.UTF-8"); err != nil { // the outputs that tests expect are English
		panic(err)
	}
	lab.Main(m)
}

// appliance is the program on a machine with a provider and a LAN.
type appliance struct {
	t       *testing.T
	lab     *labtest.Lab
	lan     *labtest.Switch
	host    *labtest.Host
	wan     *labtest.Host // the provider, at the other end of ens33
	dir     string
	addr    string   // on the LAN
	env     []string // of the program, besides that of the test
	process *labtest.Process
}

// The configuration of the manual procedure's site, with secrets to look for.
const siteConfig = `site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33, method: dhcp}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100, force: true}
provisioning: {root: ROOT, admin_password: "needle-admin-password"}
pbx: {driver: none}
backup: {window: off}
firewall: {enabled: false}
extensions:
  - {number: "100", name: Alice, secret: "needle-secret-alice"}
  - {number: "101", name: Bob}
  - {number: "102", name: Carol}
phones:
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "100"}
  - {mac: "00:15:65:00:00:02", model: T54W, extension: "101"}
`

const (
	aliceMAC    = "00:15:65:00:00:01"
	bobMAC      = "00:15:65:00:00:02"
	strangerMAC = "00:15:65:00:00:99"
)

// newAppliance lays out the lab, prepares it further as told, and starts the daemon.
func newAppliance(t *testing.T, config string, prepare ...func(*appliance)) *appliance {
	a := prepareAppliance(t, config)
	for _, p := range prepare {
		p(a)
	}
	a.start()
	return a
}

// prepareAppliance lays out the lab.
func prepareAppliance(t *testing.T, config string) *appliance {
	l := labtest.New(t)
	a := &appliance{t: t, lab: l, lan: l.Switch("lan"), host: l.Host("appliance"), dir: t.TempDir(), addr: "192.168.1.1"}
	provider := l.Host("provider")
	a.wan = provider
	l.Connect(a.host, "ens33", provider, "eth0")
	a.lan.Plug(a.host, "ens34")
	provider.Addr("eth0", "198.51.100.1/24")
	provider.Start("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0",
		"--dhcp-range=198.51.100.50,198.51.100.59", "--dhcp-option=6,198.51.100.53").WaitOutput("DHCP, IP range")
	for _, dir := range []string{"root", "tmp"} {
		if err := os.Mkdir(a.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.write("config.yaml", strings.Replace(config, "ROOT", a.path("root"), 1))
	return a
}

func (a *appliance) path(name string) string { return filepath.Join(a.dir, name) }

func (a *appliance) write(name, content string) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *appliance) read(name string) string {
	a.t.Helper()
	data, err := os.ReadFile(a.path(name))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(data)
}

// edit replaces a part of the configuration file.
func (a *appliance) edit(old, new string) {
	a.t.Helper()
	data, err := os.ReadFile(a.path("config.yaml"))
	if err != nil {
		a.t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		a.t.Fatalf("no %q in the configuration", old)
	}
	a.write("config.yaml", strings.Replace(string(data), old, new, 1))
}

// command returns the arguments that run the program, as a shell would.
func (a *appliance) command(args ...string) []string {
	exe, err := lab.Self()
	if err != nil {
		a.t.Fatal(err)
	}
	command := append([]string{programEnv + "=1", "TMPDIR=" + a.path("tmp")}, a.env...)
	return append(append(command, exe, "--runtime-dir", a.path("run")), args...)
}

// start runs the daemon and waits until it serves.
func (a *appliance) start() {
	a.t.Helper()
	a.process = a.host.Start("env", a.command("run", "--config", a.path("config.yaml"), "--state-dir", a.path("state"), "--debug")...)
	labtest.Eventually(a.t, func() error {
		out, err := a.host.Command("curl", "-sS", "http://"+a.addr+":9303/healthz").CombinedOutput()
		if err != nil || string(out) != "ok\n" {
			return fmt.Errorf("not ready: %v: %s", err, out)
		}
		return nil
	})
}

// run runs an operator's command and returns its output and exit status.
func (a *appliance) run(args ...string) (out string, status int) {
	a.t.Helper()
	cmd := a.host.Command("env", a.command(args...)...)
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		a.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// must is run for a command that must succeed.
func (a *appliance) must(args ...string) string {
	a.t.Helper()
	out, status := a.run(args...)
	if status != exitOK {
		a.t.Fatalf("%q: status %d\n%s", args, status, out)
	}
	return out
}

// query runs a command with --json and decodes its output.
func (a *appliance) query(into any, args ...string) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.must(append(args, "--json")...)), into); err != nil {
		a.t.Fatalf("%q: %v", args, err)
	}
}

// phone plugs a phone in and gets it an address with real dhclient.
type phone struct {
	*labtest.Host
	t *testing.T
}

func (a *appliance) phone(name, mac string) phone {
	a.t.Helper()
	return a.named(name, mac, "")
}

// named is a phone that calls itself something, in what it asks the DHCP server with.
func (a *appliance) named(name, mac, hostname string) phone {
	a.t.Helper()
	h := a.lab.Host(name)
	a.lan.Plug(h, "eth0")
	h.SetMAC("eth0", mac)
	h.Up("eth0")
	config := "send vendor-class-identifier \"yealink\";\nrequest subnet-mask, routers, tftp-server-name;\n"
	if hostname != "" {
		config += "send host-name \"" + hostname + "\";\n"
	}
	h.Run("sh", "-c", `printf %s "$1" > /run/dhclient.conf`, "sh", config)
	h.Run("dhclient", "-1", "-cf", "/run/dhclient.conf", "-lf", "/var/lib/dhclient.leases", "eth0")
	return phone{h, a.t}
}

// address is what it leases.
func (p phone) address() string {
	addr, _, _ := strings.Cut(strings.Fields(p.Run("ip", "-4", "-o", "address", "show", "eth0"))[3], "/")
	return addr
}

// tftp gets a file; the second result is what the client says when it fails.
func (p phone) tftp(name string) (content, failure string) {
	out, _ := p.Command("tftp", "-m", "octet", "192.168.1.1", "-c", "get", name, "/run/got").CombinedOutput() // the status means nothing
	if strings.Contains(string(out), "Error") || strings.Contains(string(out), "timed out") {
		return "", strings.TrimSpace(string(out))
	}
	return p.Run("cat", "/run/got"), ""
}

// http gets a file; the second result is the status.
func (p phone) http(name string) (content, status string) {
	out := p.Run("curl", "-sS", "-A", "Yealink SIP-T54W 96.86.0.70 "+strangerMAC, "-w", "\n%{http_code}", "http://192.168.1.1:9303/"+name)
	i := strings.LastIndex(out, "\n")
	return out[:i], out[i+1:]
}
