package dhcpd

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// minMessage is the size of an IP datagram that every client takes (RFC 2131 2).
const minMessage = 576

// headers is what IP and UDP take of it.
const headers = 28

// always are the options that a client gets whether it asks or not: without them
// it has no working address, or forgets it at the wrong time.
var always = []uint8{
	dhcpv4.OptionSubnetMask.Code(),
	dhcpv4.OptionRouter.Code(),
	dhcpv4.OptionDomainNameServer.Code(),
	dhcpv4.OptionIPAddressLeaseTime.Code(),
	dhcpv4.OptionDHCPMessageType.Code(),
	dhcpv4.OptionServerIdentifier.Code(),
	dhcpv4.OptionRenewTimeValue.Code(),
	dhcpv4.OptionRebindingTimeValue.Code(),
	dhcpv4.OptionRelayAgentInformation.Code(),
	dhcpv4.OptionClientIdentifier.Code(),
}

// reply builds an OFFER or ACK (RFC 2131 table 3). Without addr it answers an
// INFORM: no address, no times.
func (t *table) reply(q query, mt dhcpv4.MessageType, addr netip.Addr) *dhcpv4.DHCPv4 {
	m := t.answer(q, mt)
	if mt == dhcpv4.MessageTypeAck {
		m.ClientIPAddr = q.ClientIPAddr
	}
	m.ServerIPAddr = t.plan.ServerID.AsSlice()
	if addr.IsValid() {
		m.YourIPAddr = addr.AsSlice()
		t.addTimes(m, t.plan.leaseTime(q.mac))
	}
	t.addConfigured(m, q)
	shrink(m, q)
	return m
}

// naked builds a NAK: an identifier and a reason, nothing else (RFC 2131 table 3).
func (t *table) naked(q query, why string) *dhcpv4.DHCPv4 {
	m := t.answer(q, dhcpv4.MessageTypeNak)
	m.Options[dhcpv4.OptionMessage.Code()] = []byte(why)
	if q.giaddr.IsValid() {
		m.SetBroadcast() // "the relay agent will broadcast it", RFC 2131 4.3.2
	}
	return m
}

// answer copies what every answer repeats of its question.
func (t *table) answer(q query, mt dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: q.HWType, TransactionID: q.TransactionID,
		Flags: q.Flags, GatewayIPAddr: q.GatewayIPAddr, ClientHWAddr: q.ClientHWAddr,
		Options: make(dhcpv4.Options, 20),
	}
	for _, c := range []dhcpv4.OptionCode{dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionClientIdentifier} {
		if v := q.Options.Get(c); v != nil { // RFC 3046, RFC 6842
			m.Options[c.Code()] = v
		}
	}
	m.Options[dhcpv4.OptionDHCPMessageType.Code()] = []byte{byte(mt)}
	m.Options[dhcpv4.OptionServerIdentifier.Code()] = t.plan.ServerID.AsSlice()
	return m
}

// addTimes adds the lease time, and T1 and T2 as RFC 2131 4.4.5 has them.
func (t *table) addTimes(m *dhcpv4.DHCPv4, lease time.Duration) {
	for _, o := range []struct {
		code dhcpv4.OptionCode
		time time.Duration
	}{
		{dhcpv4.OptionIPAddressLeaseTime, lease},
		{dhcpv4.OptionRenewTimeValue, lease / 2},
		{dhcpv4.OptionRebindingTimeValue, lease * 7 / 8},
	} {
		m.Options[o.code.Code()] = Uint32(0, uint32(o.time/time.Second)).Value
	}
}

// addConfigured adds the options of the plan that this client should have: those
// of its class, those it asks for, and those that it cannot do without.
func (t *table) addConfigured(m *dhcpv4.DHCPv4, q query) {
	asked := q.Options.Get(dhcpv4.OptionParameterRequestList)
	add := func(o Option, force bool) {
		if force || asked == nil || slices.Contains(asked, o.Code) || slices.Contains(always, o.Code) {
			m.Options[o.Code] = o.Value
		}
	}
	mask := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if p, err := mask.Prefix(t.plan.Subnet.Bits()); err == nil {
		mask = p.Addr()
	}
	add(Addrs(dhcpv4.OptionSubnetMask.Code(), mask), true)
	add(Addrs(dhcpv4.OptionBroadcastAddress.Code(), toAddr(t.plan.broadcast())), false)
	if r, ok := t.plan.reserved[q.mac]; ok && r.Hostname != "" {
		add(Text(dhcpv4.OptionHostName.Code(), r.Hostname), false)
	}
	for _, o := range t.plan.Options {
		add(o, false)
	}
	for _, o := range t.plan.classOptions(q.ClassIdentifier()) {
		add(o, true)
	}
}

// lastToGo are the options that a phone finds its files by, in the order in
// which it can do without them.
var lastToGo = []uint8{12, 43, 42, 150, 160, 67, 66}

// shrink drops options until the message fits what the client takes (option 57):
// first those with the highest numbers, which are the newest and rarest, then
// those of lastToGo, never those of always.
func shrink(m *dhcpv4.DHCPv4, q query) {
	limit := minMessage
	if v := q.Options.Get(dhcpv4.OptionMaximumDHCPMessageSize); len(v) == 2 {
		limit = max(limit, int(v[0])<<8|int(v[1]))
	}
	limit -= headers
	if size(m) <= limit {
		return
	}
	var codes []uint8
	for c := range m.Options {
		if !slices.Contains(always, c) {
			codes = append(codes, c)
		}
	}
	slices.SortFunc(codes, func(a, b uint8) int {
		return cmp.Or(slices.Index(lastToGo, a)-slices.Index(lastToGo, b), int(b)-int(a))
	})
	for _, c := range codes {
		if size(m) <= limit {
			return
		}
		delete(m.Options, c)
	}
}

// size is the length of the message on the wire: 236 bytes of header, the magic
// cookie, the options, and the end.
func size(m *dhcpv4.DHCPv4) int {
	n := 236 + 4 + 1
	for _, v := range m.Options {
		n += 2*max(1, (len(v)+254)/255) + len(v)
	}
	return n
}
