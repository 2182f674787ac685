package firewall

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// echo answers each line on a host with the same line.
func echo(t *testing.T, h *labtest.Host, address string) {
	l := listen(t, h, address)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					if _, err := fmt.Fprintln(c, lines.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// open opens a connection whose other end answers.
func open(t *testing.T, h *labtest.Host, address string) net.Conn {
	t.Helper()
	var c net.Conn
	h.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", address, 20*time.Second)
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// alive says something and waits for the answer.
func alive(t *testing.T, name string, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintln(c, name); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if got, err := bufio.NewReader(c).ReadString('\n'); err != nil || got != name+"\n" {
		t.Errorf("%s: %q, %v", name, got, err)
	}
}

// Sessions that are open before connection tracking begins live through the first
// ruleset, whether the kernel picks up conversations in their middle or not,
// whoever began them, and whether their port stays open for new ones or not.
func TestOpenSessionsLiveOn(t *testing.T) {
	for _, loose := range []string{"1", "0"} {
		t.Run("loose "+loose, func(t *testing.T) {
			s := newSite(t)
			s.appliance.Sysctl("net.netfilter.nf_conntrack_tcp_loose", loose)
			for _, port := range []string{":22", ":2222"} {
				echo(t, s.appliance, port)
			}
			echo(t, s.internet, ":443")
			sessions := map[string]net.Conn{
				"SSH":                        open(t, s.internet, wanAddr+":22"),
				"SSH over IPv6":              open(t, s.internet, "["+wanAddr6+"]:22"),
				"SSH to a port that closes":  open(t, s.internet, wanAddr+":2222"),
				"from the LAN":               open(t, s.desk, lanAddr+":2222"),
				"from the appliance outside": open(t, s.appliance, netAddr+":443"),
			}
			for name, c := range sessions {
				alive(t, name, c)
			}
			s.start(labConfig())
			for name, c := range sessions {
				alive(t, name, c)
			}
			s.disturb("nft flush ruleset")
			for name, c := range sessions {
				alive(t, name, c)
			}
			alive(t, "a new SSH session", open(t, s.internet, wanAddr+":22"))
			alive(t, "a new SSH session over IPv6", open(t, s.internet, "["+wanAddr6+"]:22"))
			if p := (probe{from: s.internet, to: wanAddr, protocol: "tcp", port: 2222}); passes(t, p, false, s.ssh(netAddr)) {
				t.Error("a new session to a closed port opens")
			}
		})
	}
}
