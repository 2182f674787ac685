package leasefile

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// now is when the files of these tests are read.
var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

const (
	iscFile = `# The format of this file is documented in the dhcpd.leases(5) manual page.
authoring-byte-order little-endian;
server-duid "\000\001\000\001,\206j\377\000\014)\001\002\003";

lease 192.168.1.10 {
  starts 6 2026/11/28 06:00:00;
  ends 6 2026/11/28 18:00:00;
  tstp 6 2026/11/28 18:00:00;
  cltt 6 2026/11/28 06:00:00;
  binding state active;
  next binding state free;
  rewind binding state free;
  hardware ethernet 00:15:65:00:00:01;
  uid "\001\000\025e\000\000\001";
  set vendor-class-identifier = "yealink";
  client-hostname "desk \"1\"";
}
lease 192.168.1.11 {
  starts 5 2026/11/27 06:00:00;
  ends 5 2026/11/27 18:00:00;
  binding state active;
  hardware ethernet 00:15:65:00:00:02;
}
lease 192.168.1.12 {
  starts epoch 1795834800; # Sat Nov 28 03:00:00 2026
  ends never;
  binding state active;
  hardware ethernet 00:15:65:00:00:03;
  on expiry {
    log (info, "gone");
  }
}
lease 192.168.1.13 {
  ends 6 2026/11/28 18:00:00;
  binding state active;
  hardware ethernet 00:15:65:00:00:04;
}
lease 192.168.1.13 {
  ends 6 2026/11/28 09:00:00;
  binding state free;
  hardware ethernet 00:15:65:00:00:04;
}
lease 192.168.1.14 {
  ends 6 2026/11/28 18:00:00;
  binding state abandoned;
}
host laptop {
  dynamic;
  hardware ethernet 00:15:65:00:00:99;
  fixed-address 192.168.1.99;
}
lease 192.168.1.15 {
  ends 6 2026/11/28 18:00:00;
  binding state act`
	dnsmasqFile = `1795888800 00:15:65:00:00:01 192.168.1.10 desk 01:00:15:65:00:00:01
1795824000 00:15:65:00:00:02 192.168.1.11 * *
0 00:15:65:00:00:03 192.168.1.12 * *
1795888800 06-00:15:65:00:00:04 192.168.1.13 firewire *
duid 00:01:00:01:2c:86:6a:ff:00:0c:29:01:02:03
1795888800 1234567 fd00::10 * 00:01:00:01
17958888`
	keaFile = `address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context
192.168.1.10,00:15:65:00:00:01,01:00:15:65:00:00:01,43200,1795888800,1,0,0,desk.example.,0,
192.168.1.11,00:15:65:00:00:02,,43200,1795824000,1,0,0,,0,
192.168.1.12,00:15:65:00:00:03,,4294967295,1795888800,1,0,0,,0,{ "comment": "a&#x2cb" }
192.168.1.13,00:15:65:00:00:04,,43200,1795888800,1,0,0,,0,
192.168.1.13,00:15:65:00:00:04,,0,1795845600,1,0,0,,0,
192.168.1.14,00:15:65:00:00:05,,43200,1795888800,1,0,0,,1,
192.168.1.15,00:15`
)

func TestParse(t *testing.T) {
	first := Lease{
		Addr: netip.MustParseAddr("192.168.1.10"), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 1}, ClientID: []byte{1, 0, 0x15, 0x65, 0, 0, 1},
		Expires: time.Date(2026, 11, 28, 18, 0, 0, 0, time.UTC),
	}
	endless := Lease{Addr: netip.MustParseAddr("192.168.1.12"), MAC: net.HardwareAddr{0, 0x15, 0x65, 0, 0, 3}}
	for server, c := range map[string]struct{ file, hostname string }{
		"isc-dhcpd": {iscFile, `desk "1"`}, "dnsmasq": {dnsmasqFile, "desk"}, "Kea": {keaFile, "desk.example"},
	} {
		t.Run(server, func(t *testing.T) {
			want := []Lease{first, endless}
			want[0].Hostname = c.hostname
			if server == "Kea" {
				want[1].ClientID = nil
			}
			got := parse(t, server, c.file)
			for i := range got {
				if len(got[i].ClientID) == 0 {
					got[i].ClientID = nil
				}
			}
			if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func format(t testing.TB, server string) Format {
	t.Helper()
	for _, f := range Formats() {
		if f.Server == server {
			return f
		}
	}
	t.Fatalf("no format of %s", server)
	return Format{}
}

func parse(t testing.TB, server, text string) []Lease {
	t.Helper()
	leases := make(table)
	if err := format(t, server).parse([]byte(text), leases); err != nil {
		t.Error(err)
	}
	return leases.live(now)
}

// A line that cannot be read costs no other lease, and is told of.
func TestDamagedLines(t *testing.T) {
	for server, text := range map[string]string{
		"isc-dhcpd": strings.Replace(iscFile, "ends 5 2026/11/27 18:00:00", "ends 5 yesterday noon", 1),
		"dnsmasq":   strings.Replace(dnsmasqFile, "1795824000 ", "yesterday ", 1),
		"Kea":       strings.Replace(keaFile, ",1795824000,", ",yesterday,", 1),
	} {
		leases := make(table)
		err := format(t, server).parse([]byte(text), leases)
		if err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", server, err)
		}
		if _, ok := leases[netip.MustParseAddr("192.168.1.12")]; !ok {
			t.Errorf("%s: a later lease is missing", server)
		}
	}
}

func TestRead(t *testing.T) {
	root := t.TempDir()
	if found, err := Read(root, now); err != nil || len(found) != 0 {
		t.Errorf("where there is nothing: %v, %v", found, err)
	}
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("var/lib/dhcp/dhcpd.leases", iscFile)
	head, _, _ := strings.Cut(keaFile, "\n")
	put("var/lib/kea/kea-leases4.csv", head+"\n192.168.1.20,00:15:65:00:00:20,,43200,1795888801,1,0,0,,0,\n"+
		"192.168.1.12,00:15:65:00:00:21,,43200,1795888801,1,0,0,,0,\n192.168.1.21,00:15:65:00:00:01,,43200,1795888801,1,0,0,,0,\n")
	put("var/lib/kea/kea-leases4.csv.2", keaFile[:strings.LastIndex(keaFile, "\n")]+"\n192.168.1.22,00:15:65:00:00:22,,43200,1795888800,1,0,0,,0,\n")
	found, err := Read(root, now)
	if err != nil || len(found) != 2 || found[1].Path != "/var/lib/kea/kea-leases4.csv" {
		t.Fatalf("%+v, %v", found, err)
	}
	var got []string
	for _, l := range Merge(found) {
		got = append(got, l.Addr.String()+" "+l.MAC.String())
	}
	want := []string{ // the endless lease of .12 and the later one of 00:01 count
		"192.168.1.12 00:15:65:00:00:03", "192.168.1.20 00:15:65:00:00:20", "192.168.1.21 00:15:65:00:00:01", "192.168.1.22 00:15:65:00:00:22",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func fuzz(f *testing.F, server string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		leases := make(table)
		_ = format(t, server).parse(data, leases) // what cannot be read is said
		for a, l := range leases {
			if l.Addr != a || !a.Is4() || len(l.MAC) != 6 {
				t.Errorf("under %v: %+v", a, l)
			}
		}
	})
}

func FuzzISC(f *testing.F) {
	fuzz(f, "isc-dhcpd", iscFile, "lease 10.0.0.1 {\nuid \"\\", "lease 10.0.0.1 {\n}\n}\n}\nlease", "lease x {\n", "ends never;\n")
}

func FuzzDnsmasq(f *testing.F) {
	fuzz(f, "dnsmasq", dnsmasqFile, "0 1 2 3", "1 01-00:15:65:00:00:04 10.0.0.1 * ff:", "duid\n")
}

func FuzzKea(f *testing.F) {
	fuzz(f, "Kea", keaFile, "address,expire\n", "expire,address\n1,10.0.0.1\n")
}
