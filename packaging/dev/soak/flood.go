package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/sae-agent/sae-agent/internal/pause"
)

// attacker sends forged frames.
type attacker struct {
	site     *site
	port     port
	server   net.HardwareAddr
	stations []net.HardwareAddr // invented senders
	floods   []func() []byte
}

func newAttacker(s *site, p port, server net.HardwareAddr) *attacker {
	a := &attacker{site: s, port: p, server: server}
	for range 5000 {
		a.stations = append(a.stations, randomMAC(0x06))
	}
	a.floods = []func() []byte{a.discover, a.request, a.inform, a.offer, a.giveBack, a.tftp, a.register}
	return a
}

// run floods the LAN now and then until ctx ends.
func (a *attacker) run(ctx context.Context, r *rand.Rand) {
	for pause.For(ctx, time.Duration(r.Int64N(int64(15*time.Second)))) {
		a.site.count.floods.Add(1)
		forge, rate := a.floods[r.IntN(len(a.floods))], 100+r.IntN(2000)
		end := time.Now().Add(time.Duration(2+r.IntN(10)) * time.Second)
		for sent, begin := 0, time.Now(); time.Now().Before(end); sent++ {
			if a.port.send(forge()) == nil {
				a.site.count.frames.Add(1)
			}
			if ahead := time.Duration(sent)*time.Second/time.Duration(rate) - time.Since(begin); ahead > 0 && !pause.For(ctx, ahead) {
				return
			}
		}
	}
}

func (a *attacker) station() net.HardwareAddr { return a.stations[rand.IntN(len(a.stations))] }

// anyAddr is an address of the range, whoever has it.
func anyAddr() netip.Addr {
	first := rangeFirst.As4()
	n := rand.IntN(rangeSize)
	return netip.AddrFrom4([4]byte{first[0], first[1], first[2] + byte(n>>8), byte(n)})
}

func (a *attacker) discover() []byte {
	mac := a.station()
	return fromClient(mac, message(mac, dhcpv4.MessageTypeDiscover))
}

func (a *attacker) request() []byte {
	mac := a.station()
	return fromClient(mac, message(mac, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(anyAddr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverAddr.AsSlice()))))
}

func (a *attacker) inform() []byte {
	mac := a.station()
	m := message(mac, dhcpv4.MessageTypeInform)
	m.ClientIPAddr = anyAddr().AsSlice()
	return fromClient(mac, m)
}

// offer is the answer of a server that is not there, to everybody.
func (a *attacker) offer() []byte {
	mac := a.station()
	m := message(mac, dhcpv4.MessageTypeOffer, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(anyAddr().AsSlice())))
	m.OpCode, m.YourIPAddr = dhcpv4.OpcodeBootReply, anyAddr().AsSlice()
	return udpFrame(mac, broadcast, netip.AddrPortFrom(anyAddr(), 67), netip.AddrPortFrom(everybody, 68), m.ToBytes())
}

// giveBack declines or releases an address in the name of a phone, from another station.
func (a *attacker) giveBack() []byte {
	clients := a.site.clients
	victim := clients[rand.IntN(len(clients))]
	l, _ := a.site.fleet.held(victim)
	if !l.addr.IsValid() {
		l.addr = anyAddr()
	}
	kind := dhcpv4.MessageTypeRelease
	if rand.IntN(2) == 0 {
		kind = dhcpv4.MessageTypeDecline
	}
	m := message(victim.mac, kind, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.addr.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverAddr.AsSlice())))
	if kind == dhcpv4.MessageTypeRelease {
		m.ClientIPAddr = l.addr.AsSlice()
	}
	return fromClient(a.station(), m)
}

func (a *attacker) tftp() []byte {
	name := fmt.Sprintf("\x00\x01%s.cfg\x00octet\x00", a.site.clients[rand.IntN(len(a.site.clients))].mac)
	return a.toServer(69, name)
}

func (a *attacker) register() []byte {
	return a.toServer(5060, fmt.Sprintf("REGISTER sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bK%[3]d\r\nFrom: <sip:100@%[1]s>;tag=%[3]d\r\n"+
		"To: <sip:100@%[1]s>\r\nCall-ID: %[3]d\r\nCSeq: 1 REGISTER\r\nContact: <sip:100@%[2]s>\r\nContent-Length: 0\r\n\r\n", serverAddr, anyAddr(), rand.Uint32()))
}

func (a *attacker) toServer(port uint16, payload string) []byte {
	src := netip.AddrPortFrom(anyAddr(), uint16(1024+rand.IntN(60000)))
	return udpFrame(a.station(), a.server, src, netip.AddrPortFrom(serverAddr, port), []byte(payload))
}
