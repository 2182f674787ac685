package netcfg_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"

	"github.com/sae-agent/sae-agent/netcfg"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// serverEnv makes the test binary a DHCP server that is hard of hearing.
const serverEnv = "NETCFG_TEST_SERVER"

// runServer gives leases of half a minute. A renewal by unicast it does not hear;
// one by broadcast it answers, once; after that it is silent for ever.
func runServer() error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 67})
	if err != nil {
		return err
	}
	p := ipv4.NewPacketConn(conn)
	if err := p.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	fmt.Println("listening")
	buf := make([]byte, 1500)
	for rebound := false; !rebound; {
		n, cm, _, err := p.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			return err
		}
		kind, answer := "new", dhcpv4.MessageTypeAck
		if m.MessageType() == dhcpv4.MessageTypeDiscover {
			answer = dhcpv4.MessageTypeOffer
		}
		if !m.ClientIPAddr.IsUnspecified() {
			kind = "unicast"
			if cm.Dst.Equal(net.IPv4bcast) {
				kind, rebound = "broadcast", true
			}
		}
		fmt.Println(m.MessageType(), kind)
		if kind == "unicast" {
			continue
		}
		self := net.IP{198, 51, 100, 1}
		reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(answer), dhcpv4.WithYourIP(net.IP{198, 51, 100, 77}),
			dhcpv4.WithServerIP(self), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(self)), dhcpv4.WithLeaseTime(30),
			dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(self))
		if err != nil {
			return err
		}
		to := &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
		if kind == "broadcast" {
			to.IP = m.ClientIPAddr
		}
		if _, err := conn.WriteToUDP(reply.ToBytes(), to); err != nil {
			return err
		}
	}
	fmt.Println("silent")
	time.Sleep(10 * time.Minute)
	return nil
}

// T1: the server is asked alone; T2: everybody is; in the end the address goes.
func TestRenewRebindExpire(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	self, err := lab.Self()
	if err != nil {
		t.Fatal(err)
	}
	server := r.provider.Start("env", serverEnv+"=1", self)
	server.WaitOutput("listening")
	r.provider.Route("255.255.255.255", "dev", "eth0")
	r.start(netcfg.Config{WAN: dhcpWAN})
	r.ip("-4 address show ens33", "198.51.100.77/24")
	server.WaitOutput("silent")
	r.ip("-4 address show ens33", "198.51.100.77/24")
	r.process.WaitOutput("the WAN lease has expired")
	r.ip("-4 address show ens33", "!198.51.100.77/24")
	r.ip("route", "!default")
	out := server.Output()
	unicast, broadcast := strings.Index(out, "REQUEST unicast"), strings.Index(out, "REQUEST broadcast")
	if unicast < 0 || broadcast < unicast {
		t.Errorf("not first by unicast, then by broadcast:\n%s", out)
	}
	if log := r.process.Output(); strings.Count(log, "remove address") != 1 {
		t.Errorf("the address went away more than once:\n%s", log)
	}
}
