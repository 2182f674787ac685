package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// paramList is option 55 as older Yealink phones send it (Fingerbank's list).
var paramList = []byte{1, 2, 3, 4, 6, 7, 12, 15, 28, 42, 66, 67, 43, 120}

// backoff is how long a client waits for an answer, each give or take a second
// (RFC 2131 section 4.1).
var backoff = []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}

// lease is what a phone was given.
type lease struct {
	addr     netip.Prefix
	gateway  netip.Addr
	server   netip.Addr
	option66 string
}

// boot gets an address as a phone does that was just plugged in. repeated is told
// of every message that had to be sent again.
func (h *host) boot(ctx context.Context, class string, repeated func()) (lease, error) {
	in := h.listen(clientPort)
	defer h.unlisten(clientPort)
	discover, err := h.message(class, dhcpv4.MessageTypeDiscover)
	if err != nil {
		return lease{}, err
	}
	for {
		offer, err := h.ask(ctx, in, discover, repeated, dhcpv4.MessageTypeOffer)
		if err != nil {
			return lease{}, fmt.Errorf("no DHCP server answers: %w", err)
		}
		request, err := h.message(class, dhcpv4.MessageTypeRequest,
			dhcpv4.WithTransactionID(offer.TransactionID),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
		if err != nil {
			return lease{}, err
		}
		answer, err := h.ask(ctx, in, request, repeated, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
		if err != nil {
			return lease{}, fmt.Errorf("the DHCP server does not confirm its offer: %w", err)
		}
		if answer.MessageType() == dhcpv4.MessageTypeAck {
			return h.take(answer)
		}
	}
}

func (h *host) message(class string, mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(net.HardwareAddr(h.mac[:])), dhcpv4.WithMessageType(mt),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)),
		dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, paramList),
	}, mods...)...)
}

// ask sends a message until it is answered with one of the types.
func (h *host) ask(ctx context.Context, in <-chan datagram, m *dhcpv4.DHCPv4, repeated func(), types ...dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	from, to := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.MustParseAddrPort("255.255.255.255:67")
	frame := ethernet(broadcast, h.mac, unix.ETH_P_IP, udpPacket(from, to, m.ToBytes()))
	for i := 0; ; i++ {
		if i > 0 {
			repeated()
		}
		h.link.send(frame)
		wait := backoff[min(i, len(backoff)-1)] + rand.N(2*time.Second) - time.Second
		timeout := time.NewTimer(wait)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timeout.Stop()
				return nil, ctx.Err()
			case <-timeout.C:
				waiting = false
			case d := <-in:
				if a := h.answerTo(m, d, types); a != nil {
					timeout.Stop()
					return a, nil
				}
			}
		}
	}
}

func (h *host) answerTo(m *dhcpv4.DHCPv4, d datagram, types []dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a, err := dhcpv4.FromBytes(d.payload)
	if err != nil || a.OpCode != dhcpv4.OpcodeBootReply || a.TransactionID != m.TransactionID {
		return nil
	}
	for _, t := range types {
		if a.MessageType() == t {
			return a
		}
	}
	return nil
}

// take gives the host the address of an ACK.
func (h *host) take(ack *dhcpv4.DHCPv4) (lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() {
		return lease{}, errors.New("the DHCP server gave no address")
	}
	bits, _ := ack.SubnetMask().Size()
	l := lease{addr: netip.PrefixFrom(addr, bits), option66: ack.TFTPServerName()}
	l.server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if r := ack.Router(); len(r) > 0 {
		l.gateway, _ = netip.AddrFromSlice(r[0].To4())
	}
	return l, h.configure(l.addr, l.gateway)
}

// release gives the address back.
func (h *host) release(ctx context.Context, l lease) error {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(net.HardwareAddr(h.mac[:])), dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease),
		dhcpv4.WithClientIP(l.addr.Addr().AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.server.AsSlice())))
	if err != nil {
		return err
	}
	return h.sendUDP(ctx, clientPort, netip.AddrPortFrom(l.server, 67), m.ToBytes())
}
