package leasefile

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What the servers of Debian write is read: a real one gives a real client its
// lease.
func TestFilesOfRealServers(t *testing.T) {
	for server, start := range map[string]func(h *labtest.Host, file string) *labtest.Process{
		"isc-dhcpd": func(h *labtest.Host, file string) *labtest.Process {
			h.Run("sh", "-c", `: > "$0"; printf 'subnet 192.168.1.0 netmask 255.255.255.0 { range 192.168.1.50 192.168.1.50; }\n' > /run/dhcpd.conf`, file)
			return h.Start("dhcpd", "-4", "-f", "-d", "-cf", "/run/dhcpd.conf", "-lf", file, "-pf", "/run/dhcpd.pid", "-user", "root", "-group", "root", "eth0")
		},
		"dnsmasq": func(h *labtest.Host, file string) *labtest.Process {
			return h.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--user=root", "--dhcp-range=192.168.1.50,192.168.1.50,12h",
				"--dhcp-leasefile="+file, "--no-ping")
		},
		"Kea": func(h *labtest.Host, file string) *labtest.Process {
			h.Run("sh", "-c", `cat > /run/kea.json <<X
{"Dhcp4": {"interfaces-config": {"interfaces": ["eth0"]}, "lease-database": {"type": "memfile", "name": "$0"},
 "subnet4": [{"id": 1, "subnet": "192.168.1.0/24", "pools": [{"pool": "192.168.1.50-192.168.1.50"}]}]}}
X`, file)
			return h.Start("env", "KEA_LOCKFILE_DIR=/run", "KEA_PIDFILE_DIR=/run", "kea-dhcp4", "-c", "/run/kea.json")
		},
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			s, c := l.Host("server"), l.Host("phone")
			l.Connect(s, "eth0", c, "eth0")
			s.Addr("eth0", "192.168.1.1/24")
			s.Up("eth0")
			c.Up("eth0")
			file := filepath.Join(t.TempDir(), "leases")
			start(s, file)
			c.Run("dhclient", "-v", "-1", "-lf", "/var/lib/dhclient.leases", "-pf", "/run/dhclient.pid", "eth0")
			labtest.Eventually(t, func() error {
				data, err := readFile(file)
				if err != nil {
					return err
				}
				leases := make(table)
				if err := format(t, server).parse(data, leases); err != nil {
					return err
				}
				live := leases.live(time.Now())
				if len(live) != 1 || live[0].Addr != netip.MustParseAddr("192.168.1.50") || live[0].MAC.String() != c.MAC("eth0").String() {
					return errors.New("leases: " + string(data))
				}
				return nil
			})
		})
	}
}
