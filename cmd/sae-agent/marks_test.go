package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// What leaves by the WAN card has its class, whether the appliance sends it or
// forwards it, with IPv4 and IPv6.
func TestMarks(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, strings.NewReplacer("pbx: {driver: none}", "pbx: {driver: asterisk}", "firewall: {enabled: false}", "firewall: {enabled: true}").Replace(siteConfig))
	lan := a.lab.Host("desk")
	a.lan.Plug(lan, "eth0")
	lan.Addr("eth0", "192.168.1.50/24")
	lan.Route("default", "via", "192.168.1.1")
	// Not looked for first on the link: that takes a second.
	a.host.Run("ip", "address", "add", "2001:db8::2/64", "dev", "ens33", "nodad")
	a.wan.Run("ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	labtest.Eventually(t, func() error {
		if out := a.host.Run("nft", "list", "ruleset"); !strings.Contains(out, "dscp set ef") {
			return fmt.Errorf("no marks:\n%s", out)
		}
		return nil
	})
	seen := a.wan.Start("tcpdump", "-l", "-n", "-v", "-i", "eth0", "udp and greater 300")
	labtest.Eventually(t, func() error { // it listens
		send(t, a.host, "198.51.100.1:30001", 0)
		if !strings.Contains(seen.Output(), ".1.30001") {
			return fmt.Errorf("tcpdump sees nothing:\n%s", seen.Output())
		}
		return nil
	})
	for i, c := range []struct {
		from *labtest.Host
		to   string
		port int // of the sender; 0: any
		tos  string
	}{
		{a.host, "198.51.100.1:40000", 5060, "tos 0x60,"},
		{a.host, "198.51.100.1:40001", 10100, "tos 0xb8,"},
		{a.host, "198.51.100.1:19999", 0, "tos 0xb8,"},
		{a.host, "198.51.100.1:40003", 9999, "tos 0x0,"},
		{lan, "198.51.100.1:5060", 0, "tos 0x60,"},
		{lan, "198.51.100.1:10101", 0, "tos 0xb8,"},
		{lan, "198.51.100.1:40004", 0, "tos 0x0,"},
		{a.host, "[2001:db8::1]:40005", 5060, "class 0x60,"},
		{a.host, "[2001:db8::1]:40006", 10100, "class 0xb8,"},
		{a.host, "[2001:db8::1]:40007", 9999, "flowlabel 0x"}, // tcpdump names no class that is zero
	} {
		labtest.Eventually(t, func() error {
			send(t, c.from, c.to, c.port)
			_, port, _ := net.SplitHostPort(c.to)
			head := heads(seen.Output(), "."+port+": ")
			if len(head) == 0 {
				return fmt.Errorf("packet %d has not arrived", i)
			}
			for _, h := range head {
				if !strings.Contains(h, "("+c.tos) {
					return fmt.Errorf("packet %d (%s) has no %s: %s", i, c.to, c.tos, h)
				}
			}
			return nil
		})
	}
}

// send sends one datagram from a host, if there is a way: it is sent again.
func send(t *testing.T, h *labtest.Host, to string, port int) {
	t.Helper()
	h.Do(func() error {
		conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{Port: port}}).Dial("udp", to)
		if err == nil {
			_, _ = conn.Write(make([]byte, 400))
			_ = conn.Close()
		}
		return nil
	})
}

// heads returns what tcpdump -v says of the IP headers of packets whose ports are
// said like text: in the same line for IPv6, in the one before for IPv4.
func heads(out, text string) (found []string) {
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		if !strings.Contains(line, text) {
			continue
		}
		if strings.Contains(line, "IP6 (") || i == 0 {
			found = append(found, line)
		} else {
			found = append(found, lines[i-1])
		}
	}
	return found
}
