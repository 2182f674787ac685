package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	vendorClass = "yealink" // option 60 of these phones
	serverPort  = 67
	nakPause    = time.Second // before a client that was refused begins again; RFC 2131 names none
)

// paramList is option 55 as older Yealink phones send it (Fingerbank's list).
var paramList = []byte{1, 2, 3, 4, 6, 7, 12, 15, 28, 42, 66, 67, 43, 120}

// backoff is how long a client waits for an answer, each give or take a second
// (RFC 2131 section 4.1).
var backoff = []time.Duration{4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}

// errUnanswered is a REQUEST that was repeated as often as RFC 2131 says.
var errUnanswered = errors.New("no answer")

// lease is what a phone was given.
type lease struct {
	addr      netip.Prefix
	gateway   netip.Addr
	server    netip.Addr
	resolvers []netip.Addr
	option66  string
}

// boot gets an address as a phone does that was just plugged in. repeated is told
// of every message that had to be sent again.
func (h *host) boot(ctx context.Context, repeated func()) (lease, error) {
	in := h.listen(clientPort)
	defer h.unlisten(clientPort)
	for {
		offer, err := h.discover(ctx, in, repeated)
		if err != nil {
			return lease{}, fmt.Errorf("no DHCP server makes an offer: %w", err)
		}
		answer, err := h.request(ctx, in, offer, repeated)
		switch {
		case errors.Is(err, errUnanswered):
			repeated() // and begin again, as RFC 2131 section 3.1.5 says
		case err != nil:
			return lease{}, fmt.Errorf("the DHCP server does not confirm its offer of %v: %w", offer.YourIPAddr, err)
		case answer.MessageType() == dhcpv4.MessageTypeAck:
			return h.take(answer)
		default:
			select {
			case <-ctx.Done():
				return lease{}, fmt.Errorf("the DHCP server refuses what it offered (%v): %s", offer.YourIPAddr, answer.Message())
			case <-time.After(nakPause):
			}
		}
	}
}

func (h *host) discover(ctx context.Context, in <-chan datagram, repeated func()) (*dhcpv4.DHCPv4, error) {
	m, err := h.message(dhcpv4.MessageTypeDiscover)
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		offer, err := h.ask(ctx, in, m, i, dhcpv4.MessageTypeOffer)
		if !errors.Is(err, errUnanswered) {
			return offer, err
		}
		repeated()
	}
}

func (h *host) request(ctx context.Context, in <-chan datagram, offer *dhcpv4.DHCPv4, repeated func()) (*dhcpv4.DHCPv4, error) {
	m, err := h.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithTransactionID(offer.TransactionID),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
	if err != nil {
		return nil, err
	}
	for i := range backoff {
		if i > 0 {
			repeated()
		}
		answer, err := h.ask(ctx, in, m, i, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak)
		if !errors.Is(err, errUnanswered) {
			return answer, err
		}
	}
	return nil, errUnanswered
}

func (h *host) message(mt dhcpv4.MessageType, mods ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(net.HardwareAddr(h.mac[:])), dhcpv4.WithMessageType(mt),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(vendorClass)),
		dhcpv4.WithGeneric(dhcpv4.OptionParameterRequestList, paramList),
	}, mods...)...)
}

// ask broadcasts a message for the try-th time, from 0, and waits for an answer of
// one of the types.
func (h *host) ask(ctx context.Context, in <-chan datagram, m *dhcpv4.DHCPv4, try int, types ...dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	from, to := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), serverPort)
	h.link.send(ethernet(broadcast, h.mac, unix.ETH_P_IP, udpPacket(from, to, m.ToBytes())))
	timeout := time.NewTimer(backoff[min(try, len(backoff)-1)] + rand.N(2*time.Second) - time.Second)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timeout.C:
			return nil, errUnanswered
		case d := <-in:
			if a := answerTo(m, d, types); a != nil {
				return a, nil
			}
		}
	}
}

// answerTo reads the answer to a message; nil if it is none.
func answerTo(m *dhcpv4.DHCPv4, d datagram, types []dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a, err := dhcpv4.FromBytes(d.payload)
	if err != nil || a.OpCode != dhcpv4.OpcodeBootReply || a.TransactionID != m.TransactionID ||
		!slices.Equal(a.ClientHWAddr, m.ClientHWAddr) || !slices.Contains(types, a.MessageType()) {
		return nil
	}
	return a
}

// take gives the host the address of an ACK.
func (h *host) take(ack *dhcpv4.DHCPv4) (lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() {
		return lease{}, errors.New("the DHCP server gave no address")
	}
	bits, _ := ack.SubnetMask().Size() // none: 0, everything is on the link
	l := lease{addr: netip.PrefixFrom(addr, bits), option66: strings.TrimRight(string(ack.Options.Get(dhcpv4.OptionTFTPServerName)), "\x00")}
	l.server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if r := ack.Router(); len(r) > 0 {
		l.gateway, _ = netip.AddrFromSlice(r[0].To4())
	}
	for _, r := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(r.To4()); ok {
			l.resolvers = append(l.resolvers, a)
		}
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
	if err := h.sendUDP(ctx, clientPort, netip.AddrPortFrom(l.server, serverPort), m.ToBytes()); err != nil {
		return err
	}
	h.link.vacate(l.addr.Addr(), h)
	return nil
}
