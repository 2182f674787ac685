package takeover

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
)

var both = []string{"ens33", "ens34"}

const interfaces = `source /etc/network/interfaces.d/*
auto lo ens34
iface lo inet loopback

# The primary network interface
allow-hotplug ens33
iface ens33 inet dhcp
iface ens33 inet6 auto
auto ens34
iface ens34 inet static
	# phones
	address 192.168.1.1/24
auto ens35
iface ens35 inet manual
`

const interfacesAfter = `source /etc/network/interfaces.d/*
#sae-agent# auto lo ens34
auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens33
#sae-agent# iface ens33 inet dhcp
iface ens33 inet6 auto
#sae-agent# auto ens34
#sae-agent# iface ens34 inet static
	# phones
#sae-agent# 	address 192.168.1.1/24
auto ens35
iface ens35 inet manual
`

func TestWithoutCards(t *testing.T) {
	if diff := cmp.Diff(interfacesAfter, withoutCards(interfaces, both)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(interfacesAfter, withoutCards(interfacesAfter, both)); diff != "" {
		t.Errorf("done twice: %s", diff)
	}
}

func TestPlan(t *testing.T) {
	running, off := runner.UnitState{Active: true, Enabled: true}, runner.UnitState{}
	for name, c := range map[string]struct {
		m    Machine
		want []string
	}{
		"nothing there": {Machine{Cards: both}, nil},
		"servers": {
			Machine{Units: map[string]runner.UnitState{
				"isc-dhcp-server.service": running, "tftpd-hpa.service": {Enabled: true}, "atftpd.service": off,
				"udhcpd.service": {Active: true, Masked: true}, "dnsmasq.service": running, "bind9.service": running,
			}, Holders: []string{"dnsmasq.service", "isc-dhcp-server.service"}},
			[]string{
				"stop and mask dnsmasq.service: sae-agent serves DHCP and TFTP",
				"stop and mask isc-dhcp-server.service: sae-agent serves DHCP and TFTP",
				"stop and mask tftpd-hpa.service: sae-agent serves DHCP and TFTP",
			},
		},
		"servers with leases": {
			Machine{
				Units:      map[string]runner.UnitState{"isc-dhcp-server.service": running},
				Leases:     []leasefile.Lease{{Addr: netip.MustParseAddr("192.168.1.50"), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 1}}},
				LeasesPath: "/var/lib/sae-agent/former-leases.json",
			},
			[]string{
				"write /var/lib/sae-agent/former-leases.json: 1 clients of the former server keep their addresses",
				"stop and mask isc-dhcp-server.service: sae-agent serves DHCP and TFTP",
			},
		},
		"leases of a server that was stopped before": {
			Machine{
				Units:  map[string]runner.UnitState{"isc-dhcp-server.service": {Masked: true}},
				Leases: []leasefile.Lease{{Addr: netip.MustParseAddr("192.168.1.50"), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 1}}},
			}, nil,
		},
		"NetworkManager": {
			Machine{Cards: both, Units: map[string]runner.UnitState{networkManager: running, networkd: off}},
			[]string{
				"write /etc/NetworkManager/conf.d/90-sae-agent.conf: NetworkManager leaves ens33 and ens34 alone",
				"reload NetworkManager.service: it reads them",
				"take ens33: its addresses are those of the configuration",
				"take ens34: its addresses are those of the configuration",
			},
		},
		"networkd": {
			Machine{Cards: both[1:], Units: map[string]runner.UnitState{networkd: running}},
			[]string{
				"write /etc/systemd/network/05-sae-agent.network: systemd-networkd leaves ens34 and routes that are not its own alone",
				"write /etc/systemd/networkd.conf.d/90-sae-agent.conf: systemd-networkd leaves ens34 and routes that are not its own alone",
				"reload systemd-networkd.service: it reads them",
				"take ens34: its addresses are those of the configuration",
			},
		},
		"ifupdown and its client": {
			Machine{Cards: both, Files: map[string]string{"/etc/network/interfaces": interfaces}, Clients: []Client{{"ens33", "dhclient", 77}, {"eth9", "dhclient", 78}}},
			[]string{
				"change /etc/network/interfaces: ifupdown leaves ens33 and ens34 alone",
				"end dhclient (process 77): sae-agent asks for the address of ens33",
				"take ens33: its addresses are those of the configuration",
				"take ens34: its addresses are those of the configuration",
			},
		},
		"done already": {
			Machine{Cards: both, Files: map[string]string{"/etc/network/interfaces": interfacesAfter}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, s := range Plan(c.m) {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fake notes what was done to units, and fails on one.
type fake struct {
	did       []string
	fail      string
	addressed bool // whether ens34 has an address
}

func (f *fake) note(what, unit string) error {
	f.did = append(f.did, what+" "+unit)
	if f.fail == unit {
		return errors.New("out of order")
	}
	return nil
}

func (f *fake) Mask(_ context.Context, unit string) error { return f.note("mask", unit) }
func (f *fake) Unmask(_ context.Context, unit string, start bool) error {
	if start {
		return f.note("unmask and start", unit)
	}
	return f.note("unmask", unit)
}
func (f *fake) Reload(_ context.Context, unit string) error { return f.note("reload", unit) }

func (f *fake) Retire(_ context.Context, unit string) error { return f.note("retire", unit) }

func (f *fake) Release(card string) error { return f.note("release", card) }

func (f *fake) Ifup(_ context.Context, card string) error {
	f.addressed = true
	return f.note("ifup", card)
}

func (f *fake) Addressed(card string) bool { return card == "ens34" && f.addressed }

// machine is a folder with a machine's files.
func machine(t *testing.T) (Takeover, *fake) {
	t.Helper()
	root, f := t.TempDir(), &fake{addressed: true}
	if err := os.MkdirAll(filepath.Join(root, "etc/network/interfaces.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"etc/network/interfaces": interfaces, "etc/network/interfaces.d/vpn": "auto tun0\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Takeover{System: f, Cards: f, Root: root, Record: filepath.Join(root, "state/takeover.json")}, f
}

func look(t *testing.T, tk Takeover) Machine {
	t.Helper()
	states := func(context.Context, []string) (map[string]runner.UnitState, error) {
		return map[string]runner.UnitState{
			"isc-dhcp-server.service": {Active: true, Enabled: true}, "tftpd-hpa.service": {Enabled: true}, networkManager: {Active: true},
		}, nil
	}
	m, err := tk.Survey(t.Context(), both, nil, states)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tree lists all files with their content.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, root)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUndoGivesEverythingBack(t *testing.T) {
	tk, f := machine(t)
	before := tree(t, tk.Root)
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	steps := append(Plan(look(t, tk)), Step{Kind: EndProcess, PID: child.Process.Pid, Program: "sleep"})
	if err := tk.Do(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("the DHCP client: %v", err)
	}
	after := tree(t, tk.Root)
	if after["/etc/network/interfaces"] != interfacesAfter || !strings.Contains(after["/etc/NetworkManager/conf.d/90-sae-agent.conf"], "interface-name:ens33;interface-name:ens34") {
		t.Errorf("files: %q", after)
	}
	f.addressed = false // it is the agent's own now
	if err := tk.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, tree(t, tk.Root)); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"mask isc-dhcp-server.service", "mask tftpd-hpa.service", "reload NetworkManager.service",
		"retire sae-agent.service", "retire sae-agent-boot.service",
		"release ens34", "ifup ens34", "release ens33", "ifup ens33", "reload NetworkManager.service",
		"unmask tftpd-hpa.service", "unmask and start isc-dhcp-server.service",
	}
	if diff := cmp.Diff(want, f.did); diff != "" {
		t.Error(diff)
	}
	if err := tk.Undo(t.Context()); err != nil {
		t.Errorf("undoing nothing: %v", err)
	}
}

// After a failure in the middle, what was done is undone, and what cannot be
// undone yet stays noted.
func TestFailures(t *testing.T) {
	tk, f := machine(t)
	before := tree(t, tk.Root)
	f.fail = "tftpd-hpa.service"
	err := tk.Do(t.Context(), Plan(look(t, tk)))
	if err == nil || !strings.Contains(err.Error(), "stop and mask tftpd-hpa.service") {
		t.Errorf("got %v", err)
	}
	if slices.Contains(f.did, "reload NetworkManager.service") {
		t.Error("it went on after a failure")
	}
	if err := tk.Undo(t.Context()); err == nil {
		t.Error("undo says nothing of the unit that failed")
	}
	if left, err := tk.Done(); err != nil || len(left) != 1 || left[0].Unit != "tftpd-hpa.service" {
		t.Errorf("left: %+v, %v", left, err)
	}
	f.fail = ""
	if err := tk.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, tree(t, tk.Root)); diff != "" {
		t.Error(diff)
	}
}

func TestEditedFileIsLeftAlone(t *testing.T) {
	tk, _ := machine(t)
	if err := tk.Do(t.Context(), Plan(look(t, tk))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tk.Root, "etc/network/interfaces")
	if err := os.WriteFile(path, []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tk.Undo(t.Context()); err == nil || !strings.Contains(err.Error(), "/etc/network/interfaces was edited since") {
		t.Errorf("got %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "mine\n" {
		t.Errorf("the admin's file: %q, %v", data, err)
	}
}
