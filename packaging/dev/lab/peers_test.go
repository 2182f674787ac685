package lab_test

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// The example of docs/development.md, with what a DHCP client does to its host.
func TestRealClientGetsALeaseFromARealServer(t *testing.T) {
	l := labtest.New(t)
	lan := l.Switch("lan")
	server, client := l.Host("server"), l.Host("client")
	lan.Plug(server, "ens34")
	lan.Plug(client, "eth0")
	server.Addr("ens34", "192.168.1.1/24")
	server.Start("dnsmasq", "--keep-in-foreground", "--dhcp-range=192.168.1.10,192.168.1.20")
	out := client.Run("dhclient", "-v", "-1", "eth0")
	if !strings.Contains(out, "bound to 192.168.1.") {
		t.Errorf("dhclient is not bound:\n%s", out)
	}
	if got := client.Run("cat", "/etc/resolv.conf"); !strings.Contains(got, "nameserver 192.168.1.1\n") {
		t.Errorf("the client's resolv.conf: %q", got)
	}
	if got := client.Run("ip", "route"); !strings.HasPrefix(got, "default via 192.168.1.1 dev eth0") {
		t.Errorf("the client's routes: %s", got)
	}
	if got := server.Run("cat", "/etc/resolv.conf"); got != "" {
		t.Errorf("the server's resolv.conf: %q", got)
	}
}
