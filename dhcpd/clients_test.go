package dhcpd_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// dhclientConf makes dhclient speak like a phone.
const dhclientConf = `send vendor-class-identifier "yealink";
request subnet-mask, routers, domain-name-servers, domain-name, ntp-servers, tftp-server-name, bootfile-name;
`

// A lease of real dhclient holds option 66: what the manual procedure sets up.
func TestDhclientGetsAnAddressWithOption66(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	c := s.client("phone", "00:15:65:aa:bb:cc")
	c.Run("sh", "-c", "cat > /etc/dhclient-test.conf <<'X'\n"+dhclientConf+"X")
	out := c.Run("dhclient", "-v", "-1", "-cf", "/etc/dhclient-test.conf", "-lf", "/var/lib/dhclient.leases", "eth0")
	if !strings.Contains(out, "bound to 192.168.1.") {
		t.Fatalf("not bound:\n%s", out)
	}
	lease := c.Run("cat", "/var/lib/dhclient.leases")
	for _, want := range []string{
		`option tftp-server-name "tftp://192.168.1.1";`, `option dhcp-lease-time 43200;`, `option routers 192.168.1.1;`,
		`option domain-name-servers 9.9.9.9,1.1.1.1;`, `option domain-name "office.example";`, `option ntp-servers 192.168.1.1;`,
		`option dhcp-server-identifier 192.168.1.1;`, `option subnet-mask 255.255.255.0;`,
	} {
		if !strings.Contains(lease, want) {
			t.Errorf("the lease lacks %s:\n%s", want, lease)
		}
	}
	l, ok := s.lease(hw("00:15:65:aa:bb:cc"))
	if !ok || l.VendorClass != "yealink" {
		t.Errorf("the server's lease: %+v", l)
	}
	c.Run("dhclient", "-r", "-cf", "/etc/dhclient-test.conf", "-lf", "/var/lib/dhclient.leases", "eth0")
	labtest.Eventually(t, s.saw(dhcpd.EventRelease))
}

func TestUdhcpcGetsAnAddressWithOption66(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	c := s.client("phone", "00:15:65:aa:bb:cc")
	c.Run("sh", "-c", `printf '#!/bin/sh\necho "tftp=$tftp ntpsrv=$ntpsrv router=$router lease=$lease"\n' > /run/script && chmod 755 /run/script`)
	out := c.Run("udhcpc", "-i", "eth0", "-n", "-q", "-f", "-O", "tftp", "-O", "ntpsrv", "-s", "/run/script")
	for _, want := range []string{"tftp=192.168.1.1 ", "ntpsrv=192.168.1.1", "router=192.168.1.1", "lease=43200"} {
		if !strings.Contains(out, want) {
			t.Errorf("udhcpc did not get %s:\n%s", want, out)
		}
	}
}

// dhcpcd probes its address by ARP, sends a DUID as its client identifier, and
// asks for the same address when it starts again.
func TestDhcpcdKeepsItsAddress(t *testing.T) {
	t.Parallel()
	s := serve(t, seedConfig())
	c := s.client("pc", "")
	inet := regexp.MustCompile(`inet (\S+)`)
	lease := func() (addr string) {
		t.Helper()
		c.Run("dhcpcd", "--oneshot", "--ipv4only", "--noarp", "eth0")
		labtest.Eventually(t, func() error { // its last words are lost at times, as it goes into the background
			out := c.Run("ip", "-4", "-o", "address", "show", "dev", "eth0")
			found := inet.FindStringSubmatch(out)
			if found == nil {
				return fmt.Errorf("no address: %s", out)
			}
			addr = found[1]
			return nil
		})
		return addr
	}
	first := lease()
	c.Run("ip", "address", "flush", "dev", "eth0")
	if again := lease(); again != first {
		t.Errorf("first %s, then %s", first, again)
	}
}
