package setup

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/internal/golden"
)

func bare() *config.Config {
	c := config.Default()
	c.WAN.Interface, c.LAN.Interface, c.LAN.Address = "ens33", "ens34", netip.MustParsePrefix("192.168.1.1/24")
	c.DHCP.Range = rangeOf(c.LAN.Address)
	return c
}

// What other servers' and phones' files say is taken over or named.
func TestImportOthers(t *testing.T) {
	own := []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}
	for name, src := range map[string]Sources{
		"phones":  {TFTP: "testdata/phones"},
		"dnsmasq": {Dnsmasq: "testdata/dnsmasq.conf", Own: own},
		"kea":     {Kea: "testdata/kea.conf", Own: own},
	} {
		t.Run(name, func(t *testing.T) {
			c := bare()
			notes, err := Import(c, src)
			if err != nil {
				t.Fatal(err)
			}
			c.Provisioning.Root = "/tftpboot"
			golden.Equal(t, "testdata/"+name+".golden", text(t, c, notes))
			for _, n := range notes {
				if strings.Contains(n, "hidden-password") {
					t.Errorf("a note tells a password: %s", n)
				}
			}
		})
	}
}

// What was configured before and is not in the phones' files stays.
func TestImportMerges(t *testing.T) {
	c := bare()
	c.Extensions = []config.Extension{{Number: "100", Name: "Alice"}, {Number: "211", Name: "Old"}}
	c.Phones = []config.Phone{{MAC: []byte{0, 0x15, 0x65, 0, 0, 1}, Model: "T42U", Extension: "100"}, {MAC: []byte{0, 0x15, 0x65, 0, 0, 2}, Model: "T42U", Extension: "211"}}
	if _, err := Import(c, Sources{TFTP: "testdata/phones"}); err != nil {
		t.Fatal(err)
	}
	var numbers, macs []string
	for _, e := range c.Extensions {
		numbers = append(numbers, e.Number+" "+e.Name)
	}
	for _, p := range c.Phones {
		macs = append(macs, p.MAC.String())
	}
	if got := strings.Join(numbers, ","); got != "211 Desk,212 212,214 214,100 Alice" {
		t.Error(got)
	}
	if got := strings.Join(macs, ","); got != "00:15:65:00:00:11,00:15:65:00:00:12,00:15:65:00:00:13,00:15:65:00:00:01" {
		t.Error(got)
	}
}

func TestTFTPRoot(t *testing.T) {
	dir := t.TempDir()
	if got := TFTPRoot(dir); got != "/tftpboot" {
		t.Error(got)
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc/default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/default/tftpd-hpa"), []byte("TFTP_USERNAME=\"tftp\"\nTFTP_DIRECTORY=\"/srv/tftp\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := TFTPRoot(dir); got != "/srv/tftp" {
		t.Error(got)
	}
}

func FuzzImportOthers(f *testing.F) {
	for _, name := range []string{"dnsmasq.conf", "kea.conf"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func([]byte, Sources) (served, []string, error){readDnsmasq, readKea} {
			if s, _, err := read(data, Sources{}); err == nil && s.subnet.IsValid() {
				s.takeOver(config.Default(), "x", nil)
			}
		}
	})
}

// Packages bring examples: of several servers, the file of the one that runs is read.
func TestTheServerThatRunsIsRead(t *testing.T) {
	both := Sources{DHCPD: "dhcpd.conf", Dnsmasq: "dnsmasq.conf"}
	for name, c := range map[string]struct {
		units map[string]runner.UnitState
		want  Sources
	}{
		"one runs":  {map[string]runner.UnitState{"dnsmasq.service": {Active: true}, "isc-dhcp-server.service": {Enabled: true}}, Sources{Dnsmasq: "dnsmasq.conf"}},
		"none runs": {map[string]runner.UnitState{"isc-dhcp-server.service": {Enabled: true}}, both},
		"both run":  {map[string]runner.UnitState{"dnsmasq.service": {Active: true}, "isc-dhcp-server.service": {Active: true}}, both},
	} {
		got := both
		got.OnlyRunning(c.units)
		if got.DHCPD != c.want.DHCPD || got.Dnsmasq != c.want.Dnsmasq || got.Servers() != c.want.Servers() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
