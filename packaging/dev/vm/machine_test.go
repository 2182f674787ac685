//go:build vm

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	wanMAC     = "00:50:56:00:00:33" // the disk's .link files have these
	lanMAC     = "00:50:56:00:00:34"
	wanAddress = "198.51.100.50"
	bootTime   = 5 * time.Minute // an emulated processor, on a machine that is busy
)

// machine is the virtual machine, and the site around it.
type machine struct {
	t        *testing.T
	provider *labtest.Host // gives ens33 its address, and has the repository
	host     *labtest.Host // where the emulator runs
	lan      *labtest.Switch
	lab      *labtest.Lab
	disk     string
	process  *labtest.Process
}

// newMachine lays out a site whose machine is off and new.
func newMachine(t *testing.T) *machine {
	t.Helper()
	l := labtest.New(t)
	m := &machine{t: t, lab: l, provider: l.Host("provider"), host: l.Host("host"), lan: l.Switch("lan"), disk: filepath.Join(t.TempDir(), "disk")}
	wan := l.Switch("wan")
	wan.Plug(m.provider, "eth0")
	m.provider.Addr("eth0", "198.51.100.1/24")
	m.provider.Start("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0", "--dhcp-authoritative",
		"--dhcp-range=198.51.100.50,198.51.100.59", "--dhcp-host="+wanMAC+","+wanAddress).WaitOutput("DHCP, IP range")
	m.serve(build(t, "apt"))
	wan.Plug(m.host, "wan")
	m.lan.Plug(m.host, "lan")
	for _, card := range []string{"wan", "lan"} { // the emulator's end of each cable
		m.host.Run("ip", "tuntap", "add", "dev", "tap-"+card, "mode", "tap")
		m.host.Run("ip", "link", "add", "br-"+card, "type", "bridge")
		for _, port := range []string{card, "tap-" + card} {
			m.host.Run("ip", "link", "set", port, "master", "br-"+card, "up")
		}
		m.host.Up("br-" + card)
	}
	m.host.Run("cp", "--sparse=always", build(t, "_vm/disk"), m.disk)
	return m
}

func build(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "build", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: 'make test-vm' makes it", err)
	}
	return path
}

// serve has the provider serve a directory over HTTP.
func (m *machine) serve(dir string) {
	m.t.Helper()
	var listener net.Listener
	m.provider.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "198.51.100.1:80")
		return err
	})
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	m.t.Cleanup(func() { server.Close() })
	go server.Serve(listener)
}

// boot powers the machine on, and waits until it has started.
func (m *machine) boot() {
	m.t.Helper()
	m.process = m.host.Start("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
		"-machine", "q35", "-accel", "tcg", "-smp", "2", "-m", "1024", "-device", "virtio-rng-pci",
		"-kernel", build(m.t, "_vm/vmlinuz"), "-initrd", build(m.t, "_vm/initrd.img"), "-append", "root=/dev/vda rw console=ttyS0",
		"-drive", "if=virtio,format=raw,file="+m.disk,
		"-netdev", "tap,id=wan,ifname=tap-wan,script=no,downscript=no", "-device", "virtio-net-pci,romfile=,netdev=wan,mac="+wanMAC,
		"-netdev", "tap,id=lan,ifname=tap-lan,script=no,downscript=no", "-device", "virtio-net-pci,romfile=,netdev=lan,mac="+lanMAC)
	m.started("")
}

// started waits until the machine has started, and it is not the boot given. It returns the boot's identity.
func (m *machine) started(before string) string {
	m.t.Helper()
	deadline := time.Now().Add(bootTime)
	for {
		out, err := m.try("systemctl is-system-running --wait >/dev/null; cat /proc/sys/kernel/random/boot_id")
		if err == nil && out != before {
			return out
		}
		select {
		case <-m.process.Done():
			m.t.Fatal("the emulator has ended")
		case <-time.After(time.Second):
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the machine has not started after %v: %v\n%s", bootTime, err, out)
		}
	}
}

// reboot has the machine reboot in good order.
func (m *machine) reboot() {
	m.t.Helper()
	before := m.sh("cat /proc/sys/kernel/random/boot_id")
	_, _ = m.try("systemctl reboot") // which ends the connection
	m.started(before)
}

// cut cuts the current: what the machine has not written to its disk is gone.
func (m *machine) cut() {
	m.t.Helper()
	if err := m.process.Kill(); err == nil {
		m.t.Fatal("the emulator had ended by itself")
	}
}

// try runs a shell script on the machine, over the WAN, as its operator does.
func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), bootTime)
	defer cancel()
	out, err := m.ssh(ctx, script).CombinedOutput()
	return string(out), err
}

// ssh is a shell script on the machine that was not started yet.
func (m *machine) ssh(ctx context.Context, script string) *exec.Cmd {
	return m.provider.Host.Command(ctx, "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-i", build(m.t, "_vm/key"), "root@"+wanAddress, script)
}

// sh runs a shell script on the machine that must succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		journal, _ := m.try("journalctl --no-pager -b -u 'sae-agent*' | tail -n 60")
		m.t.Fatalf("%s: %v\n%s\njournal:\n%s", script, err, out, journal)
	}
	return out
}

// phone is a phone as phonesim has it in its inventory and in its report.
type phone struct {
	MAC       string `json:"mac"`
	Model     string `json:"model"`
	Extension string `json:"extension"`
	Address   string `json:"address,omitempty"`
	State     string `json:"state,omitempty"`
	Error     string `json:"error,omitempty"`
}

// storm plugs phones in. What it returns powers all on at the same instant, and returns what became of them; an error
// if any did not come up.
func (m *machine) storm(phones []phone) func() ([]phone, error) {
	m.t.Helper()
	h := m.lab.Host("phones")
	m.lan.Plug(h, "eth0")
	inventory, err := json.Marshal(phones)
	if err != nil {
		m.t.Fatal(err)
	}
	file := filepath.Join(m.t.TempDir(), "phones.json")
	if err := os.WriteFile(file, inventory, 0o600); err != nil {
		m.t.Fatal(err)
	}
	cmd := h.Command(build(m.t, "phonesim"), "--interface", "eth0", "--inventory", file, "--storm", "--json", "--timeout", "2m")
	return func() ([]phone, error) {
		out, err := cmd.Output()
		err = errors.Join(err, h.Host.Down("eth0")) // or the next phones would meet these
		var report struct{ Phones []phone }
		if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
			return nil, errors.Join(err, jsonErr)
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, summary(report.Phones))
		}
		return report.Phones, err
	}
}

// summary counts phones by what became of them.
func summary(phones []phone) string {
	count := make(map[string]int)
	for _, p := range phones {
		count[strings.TrimSpace(p.State+" "+p.Error)]++
	}
	return fmt.Sprint(count)
}
