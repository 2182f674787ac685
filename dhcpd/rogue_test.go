package dhcpd_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// threePhones is careful with a reservation for each of three phones.
func threePhones() dhcpd.Config {
	cfg := careful()
	cfg.Reservations = []dhcpd.Reservation{
		{MAC: hw("00:15:65:aa:bb:01"), Addr: ip("192.168.1.21")},
		{MAC: hw("00:15:65:aa:bb:02"), Addr: ip("192.168.1.22")},
		{MAC: hw("00:15:65:aa:bb:03"), Addr: ip("192.168.1.23")},
	}
	for _, r := range cfg.Reservations {
		cfg.Known = append(cfg.Known, r.MAC)
	}
	return cfg
}

// udhcpc plugs a phone in and returns its client, which has the address.
func (s *site) udhcpc(name, mac, addr string, more ...string) *labtest.Process {
	s.t.Helper()
	h := s.client(name, mac)
	p := h.Start("udhcpc", append([]string{"-f", "-i", "eth0", "-s", "/bin/true", "-t", "20", "-T", "1"}, more...)...)
	p.WaitOutput("lease of " + addr + " obtained from 192.168.1.1")
	h.Addr("eth0", addr+"/24")
	return p
}

// renew has a client ask for its address again, in unicast, and waits until it has it.
func renew(t *testing.T, p *labtest.Process, addr string) {
	t.Helper()
	obtained := "lease of " + addr + " obtained from 192.168.1.1"
	before := strings.Count(p.Output(), obtained)
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		if strings.Count(p.Output(), obtained) <= before {
			return errors.New("not renewed:\n" + p.Output())
		}
		return nil
	})
}

// A rogue that comes and goes costs configured phones nothing: they keep their address,
// renew it, boot beside the rogue, and boot when it is gone. The rogue looks whether an
// address is in use before it offers it, as servers do, and so is never first.
func TestRogueThatComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve(threePhones(), dhcpd.Options{Machine: "one"})
	s.waitServing()
	early := s.udhcpc("early", "00:15:65:aa:bb:01", "192.168.1.21")

	h := s.client("rogue", "")
	h.Addr("eth0", "192.168.1.9/24")
	// It does not look again at an address that it has just offered to another, so there are many.
	rogue := h.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--log-dhcp", "--dhcp-range=192.168.1.110,192.168.1.250,2m")
	rogue.WaitOutput("DHCP, IP range")
	if r := s.search(); len(r) != 1 || r[0].ServerID != ip("192.168.1.9") {
		t.Fatalf("rivals: %v", r)
	}
	s.mustServe("beside the rogue")
	renew(t, early, "192.168.1.21")
	during := s.udhcpc("during", "00:15:65:aa:bb:02", "192.168.1.22")
	renew(t, during, "192.168.1.22")
	labtest.Eventually(t, func() error { // it took part
		if !strings.Contains(rogue.Output(), "00:15:65:aa:bb:02") {
			return errors.New("the rogue has not heard the phone")
		}
		return nil
	})

	_ = rogue.Stop()
	s.udhcpc("late", "00:15:65:aa:bb:03", "192.168.1.23")
	renew(t, early, "192.168.1.21")
	renew(t, during, "192.168.1.22")
	if r := s.search(); len(r) != 0 {
		t.Errorf("rivals that are gone: %v", r)
	}
	s.mustServe("in the end")
	for _, r := range threePhones().Reservations {
		if l, ok := s.lease(r.MAC); !ok || l.Addr != r.Addr {
			t.Errorf("%v: %+v", r.MAC, l)
		}
	}
}

// dnsmasq as a proxyDHCP server tells network boot clients where to boot from and gives no
// addresses: no rival, also while it answers.
func TestRealProxyDHCPIsNoRival(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := s.client("proxy", "")
	h.Addr("eth0", "192.168.1.9/24")
	proxy := h.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--log-dhcp",
		"--dhcp-range=192.168.1.0,proxy", "--pxe-service=x86PC,boot,pxelinux")
	proxy.WaitOutput("DHCP, proxy")
	s.serve(threePhones(), dhcpd.Options{})
	s.waitServing()
	// As a card does that boots from the network: it names its architecture and machine.
	pc := s.client("pc", "00:15:65:aa:bb:01").Start("udhcpc", "-f", "-i", "eth0", "-s", "/bin/true", "-B",
		"-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000", "-x", "0x61:0000112233445566778899aabbccddeeff")
	proxy.WaitOutput("PXE(eth0) 00:15:65:aa:bb:01 proxy")
	_ = pc.Stop() // it knows nothing of offers without an address
	s.noRival()
	s.udhcpc("phone", "00:15:65:aa:bb:02", "192.168.1.22")
}

// noRival fails unless a search finds nobody, and nobody was told of a rival.
func (s *site) noRival() {
	s.t.Helper()
	if r := s.search(); len(r) != 0 {
		s.t.Errorf("rivals: %v", r)
	}
	if s.saw(dhcpd.EventRival)() == nil {
		s.t.Error("a rival was told of")
	}
	s.mustServe("in the end")
}

// dnsmasq as a relay of the same link hears the clients too, and brings our own OFFER once
// more; our own search comes back to us as well. Whether it is configured as a relay or not, it is no rival.
func TestRealRelayOfTheLinkIsNoRival(t *testing.T) {
	t.Parallel()
	for name, relays := range map[string][]dhcpd.Relay{"configured": {{Addr: ip("192.168.1.2")}}, "stray": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			h := s.client("relay", "")
			h.Addr("eth0", "192.168.1.2/24")
			h.Start("dnsmasq", "--keep-in-foreground", "--port=0", "--log-facility=-", "--dhcp-relay=192.168.1.2,192.168.1.1").WaitOutput("DHCP relay from")
			wire := s.host.Start("tcpdump", "-lnvi", "ens34", "udp and (port 67 or port 68)")
			wire.WaitOutput("listening on")
			cfg := threePhones()
			cfg.Relays = relays
			s.serve(cfg, dhcpd.Options{})
			s.waitServing()
			for i, r := range cfg.Reservations {
				s.udhcpc(fmt.Sprint("phone", i), r.MAC.String(), r.Addr.String(), "-B")
			}
			s.noRival()
			wire.WaitOutput("192.168.1.2.67 > 192.168.1.1.67") // it forwards
			if relays == nil {
				return
			}
			labtest.Eventually(t, func() error { // and brings our answers
				for line := range strings.Lines(wire.Output()) {
					if strings.Contains(line, "192.168.1.2.67 > 255.255.255.255.68") {
						return nil
					}
				}
				return errors.New("the relay has brought nothing")
			})
		})
	}
}
