package setup

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/setup/dhcpdconf"
	"github.com/sae-agent/sae-agent/internal/golden"
)

// Every file of the corpus is one that dhcpd accepts, is read, and gives a configuration that is valid. Each of its statements
// is taken over, or named with its line.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.conf")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	own := []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}
	var out strings.Builder
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			judge(t, file)
			list, err := dhcpdconf.Parse(file, os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			c := config.Default()
			c.WAN.Interface, c.LAN.Interface, c.LAN.Address = "ens33", "ens34", own[0]
			c.DHCP.Range = rangeOf(own[0])
			r := &isc{own: own}
			s, served := r.read(list)
			forgotten(t, r, list)
			notes := r.notes
			if served {
				notes = append(notes, s.takeOver(c, file, own)...)
			}
			c.Site.Name = strings.TrimSuffix(name, ".conf")
			data, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := config.Parse(name, data); err != nil {
				t.Errorf("what was made is not valid: %v\n%s", err, data)
			}
			fmt.Fprintf(&out, "== %s\n%s", name, dhcpSection(string(data)))
			for _, n := range notes {
				fmt.Fprintf(&out, "# %s\n", strings.ReplaceAll(n, "testdata/corpus/", ""))
			}
		})
	}
	golden.Equal(t, "testdata/corpus.golden", out.String())
}

// judge has dhcpd itself say that a file is valid.
func judge(t *testing.T, file string) {
	t.Helper()
	dhcpd, err := exec.LookPath("dhcpd")
	if err != nil {
		t.Log("no dhcpd here: whether it accepts the file is not tested")
		return
	}
	cmd := exec.Command(dhcpd, "-t", "-4", "-cf", filepath.Base(file), "-lf", "/dev/null", "-pf", "/dev/null")
	cmd.Dir = filepath.Dir(file)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("dhcpd does not accept it: %v\n%s", err, said)
	}
}

// forgotten fails for statements that were neither taken over nor named.
func forgotten(t *testing.T, r *isc, list []dhcpdconf.Statement) {
	t.Helper()
	for _, s := range list {
		if len(s.Words) > 0 && !r.said[place(s)] {
			t.Errorf("nothing is said of %s", place(s))
		}
		forgotten(t, r, s.Block)
	}
}

// dhcpSection is what a configuration says of the LAN, DHCP and option 66.
func dhcpSection(text string) string {
	var out strings.Builder
	shown := false
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			shown = strings.HasPrefix(line, "lan:") || strings.HasPrefix(line, "dhcp:") || strings.HasPrefix(line, "provisioning:")
		}
		if shown && strings.TrimSpace(line) != "" && !strings.Contains(line, "root:") && !strings.Contains(line, "unknown_phones:") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Where the card has no address, the router that clients are told of is taken for this machine.
func TestLANAddress(t *testing.T) {
	for own, want := range map[string]string{"10.5.0.9/16": "10.5.0.9/16", "192.168.1.77/24": "192.168.1.77/24", "172.16.0.1/24": "10.5.0.1/16"} {
		list, err := dhcpdconf.Parse("testdata/corpus/two-subnets.conf", os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.LAN.Address = netip.MustParsePrefix(own)
		importDHCPD(c, list, Sources{Own: []netip.Prefix{c.LAN.Address}})
		if c.LAN.Address.String() != want {
			t.Errorf("the card has %s: lan.address is %s, want %s", own, c.LAN.Address, want)
		}
	}
}

func TestNamesAreLookedUp(t *testing.T) {
	list, err := dhcpdconf.Parse("testdata/corpus/hex-mac.conf", os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	notes := importDHCPD(c, list, Sources{Own: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}, Lookup: func(name string) []netip.Addr {
		return map[string][]netip.Addr{"lobby.invalid": {netip.MustParseAddr("192.168.1.202")}}[name]
	}})
	if r := c.DHCP.Reservations; len(r) != 2 || r[0].MAC.String() != "00:15:65:0a:0b:0c" || r[1].IP.String() != "192.168.1.202" {
		t.Errorf("%v, %q", r, notes)
	}
}

func FuzzImportDHCPD(f *testing.F) {
	files, _ := filepath.Glob("testdata/corpus/*.conf")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, in string) {
		list, err := dhcpdconf.Parse("x", func(string) ([]byte, error) { return []byte(in), nil })
		if err != nil || strings.Contains(in, "include") {
			return
		}
		r := &isc{own: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}
		if s, ok := r.read(list); ok {
			s.takeOver(config.Default(), "x", r.own)
			forgotten(t, r, list)
		}
	})
}
