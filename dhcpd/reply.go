package dhcpd

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// minMessage is the size of an IP datagram that every client takes (RFC 2131 2).
	minMessage = 576
	// maxMessage is what fits a frame: answers are frames of our own, never fragments.
	maxMessage = 1500
	// minBOOTP is how long a message is at least: some relays drop shorter ones.
	minBOOTP = 300
)

// Options that the server reads or writes (RFC 2132).
const (
	optMask       = 1
	optRouter     = 3
	optDNS        = 6
	optHostname   = 12
	optBroadcast  = 28
	optRequested  = 50
	optLeaseTime  = 51
	optType       = 53
	optServerID   = 54
	optParams     = 55
	optMessage    = 56
	optMaxSize    = 57
	optRenewTime  = 58
	optRebindTime = 59
	optClass      = 60
	optClientID   = 61
	optUserClass  = 77
	optRelayInfo  = 82
	optEnd        = 255
)

// always are the configured options that a client gets whether it asks or not:
// without them it has no working address.
var always = []uint8{optMask, optRouter, optDNS}

// lastToGo are the options that a phone finds its files by, in the order in
// which it can do without them.
var lastToGo = []uint8{optHostname, 43, 42, 150, 160, 67, 66}

// maxOptionSets bounds the encoded options that are kept: a client chooses what it asks for.
const maxOptionSets = 256

// reply is a message that is ready to leave: a frame whose headers are written when
// it is sent.
type reply struct {
	kind   dhcpv4.MessageType
	client mac        // chaddr, for the log
	to     mac        // the station that asked, or all
	addr   netip.Addr // the datagram's destination
	port   uint16
	frame  []byte
}

func (r *reply) message() []byte { return r.frame[preLen:] }

// optionSet is the configured options of one kind of client, as they are sent.
type optionSet struct {
	params []byte // option 55
	list   []Option
	wire   []byte
}

// optionKey is what those depend on.
type optionKey struct {
	net    *network
	class  int    // of ClassOptions, or -1
	params string // option 55
}

// reply builds an OFFER or ACK (RFC 2131 table 3). Without addr it answers an
// INFORM: no address, no times.
func (t *table) reply(q *query, kind dhcpv4.MessageType, addr netip.Addr) *reply {
	r := t.answer(q, kind)
	m := r.message()
	copy(m[siaddrAt:], r.frame[serverAt:serverAt+4])
	if kind == dhcpv4.MessageTypeAck {
		copy(m[ciaddrAt:ciaddrAt+4], q.payload[ciaddrAt:])
	}
	if addr.IsValid() {
		a := addr.As4()
		copy(m[yiaddrAt:], a[:])
		r.addTimes(t.plan.leaseTime(q.mac))
	}
	var own []Option
	if reserved, ok := t.plan.reserved[q.mac]; ok && reserved.Hostname != "" && q.asksFor(optHostname) {
		own = append(own, Text(optHostname, reserved.Hostname))
	}
	r.addConfigured(q, t.plan.optionsFor(q), own)
	return r.addressed(q)
}

// nakReply builds a NAK: an identifier and a reason, nothing else (RFC 2131 table 3).
func (t *table) nakReply(q *query, why string) *reply {
	r := t.answer(q, dhcpv4.MessageTypeNak)
	r.add(Text(optMessage, why))
	r.addEcho(q)
	if q.giaddr.IsValid() {
		r.message()[flagsAt] |= 0x80 // "the relay agent will broadcast it", RFC 2131 4.3.2
	}
	return r.addressed(q)
}

// serverAt is where a frame has the value of option 54, the second of all.
const serverAt = preLen + optionsAt + 3 + 2

// answer copies what every answer repeats of its question, and begins the options
// with the type and the server: some embedded clients look no further.
func (t *table) answer(q *query, kind dhcpv4.MessageType) *reply {
	r, _ := t.replies.Get().(*reply)
	if r == nil {
		r = new(reply)
	}
	r.kind, r.client = kind, q.mac
	r.frame = append(r.frame[:0], make([]byte, preLen+optionsAt)...)
	m, question := r.message(), q.payload
	m[0], m[1], m[2] = byte(dhcpv4.OpcodeBootReply), question[1], question[2]
	copy(m[4:8], question[4:])                         // transaction
	copy(m[flagsAt:ciaddrAt], question[flagsAt:])      // flags
	copy(m[giaddrAt:chaddrAt+16], question[giaddrAt:]) // giaddr, chaddr
	binary.BigEndian.PutUint32(m[cookieAt:], cookie)
	id := t.plan.ServerID.As4()
	r.frame = append(r.frame, optType, 1, byte(kind), optServerID, 4, id[0], id[1], id[2], id[3])
	return r
}

// addTimes adds the lease time, and T1 and T2 as RFC 2131 4.4.5 has them.
func (r *reply) addTimes(lease time.Duration) {
	seconds := uint32(lease / time.Second)
	for _, o := range [...]struct {
		code  uint8
		value uint32
	}{{optLeaseTime, seconds}, {optRenewTime, seconds / 2}, {optRebindTime, uint32(uint64(seconds) * 7 / 8)}} {
		r.frame = binary.BigEndian.AppendUint32(append(r.frame, o.code, 4), o.value)
	}
}

// addConfigured adds the options of the client's kind and its own, and what it must
// hear again, as far as its limit allows.
func (r *reply) addConfigured(q *query, set *optionSet, own []Option) {
	room := q.limit() - len(r.message()) - q.echoSize() - 1
	if len(set.wire)+size(own) <= room {
		r.frame = append(r.frame, set.wire...)
	} else {
		own = fit(append(own, set.list...), room)
	}
	for _, o := range own {
		r.add(o)
	}
	r.addEcho(q)
}

// addEcho ends the options with what a client or its relay must hear again (RFC
// 6842; RFC 3046: as the last), and fills the message up.
func (r *reply) addEcho(q *query) {
	for _, o := range [...]Option{{optClientID, q.clientID}, {optRelayInfo, q.relayInfo}} {
		if o.Value != nil {
			r.add(o)
		}
	}
	r.frame = append(r.frame, optEnd)
	if short := minBOOTP - len(r.message()); short > 0 {
		r.frame = append(r.frame, make([]byte, short)...)
	}
}

func (r *reply) add(o Option) { r.frame = appendOption(r.frame, o) }

// addressed says where the reply goes (RFC 2131 4.1). What is for one client goes to
// the station that asked, be it the client, its relay or a bridge that speaks for
// it; no ARP is asked, so that an invented address costs nothing.
func (r *reply) addressed(q *query) *reply {
	r.to, r.port = q.station, clientPort
	m := r.message()
	switch {
	case q.giaddr.IsValid():
		r.addr, r.port = q.giaddr, serverPort
	case q.routed() && (r.kind != dhcpv4.MessageTypeNak || q.net.router.IsValid()):
		r.addr = q.ciaddr
	case r.kind == dhcpv4.MessageTypeNak || q.broadcast() || [4]byte(m[yiaddrAt:]) == [4]byte{}:
		r.addr, r.to = netip.AddrFrom4([4]byte{255, 255, 255, 255}), broadcastMAC
	case q.ciaddr.IsValid():
		r.addr = q.ciaddr
	default:
		r.addr = netip.AddrFrom4([4]byte(m[yiaddrAt:]))
	}
	return r
}

// limit is how long a message to the client may be (option 57).
func (q *query) limit() int { return min(max(minMessage, q.maxSize), maxMessage) - ipLen - udpLen }

// asksFor reports whether the client wants an option; one without a list wants all.
func (q *query) asksFor(code uint8) bool { return q.params == nil || slices.Contains(q.params, code) }

func (q *query) echoSize() int {
	n := 0
	for _, v := range [...][]byte{q.clientID, q.relayInfo} {
		if v != nil {
			n += optionSize(v)
		}
	}
	return n
}

// optionsFor returns the configured options that a client should have: those of its
// class, those it asks for, and those that it cannot do without. They are encoded
// once for all clients that ask alike.
func (p *plan) optionsFor(q *query) *optionSet {
	class := p.class(q.class)
	if set := p.sets[optionKey{q.net, class, string(q.params)}]; set != nil {
		return set
	}
	set := &optionSet{params: slices.Clone(q.params), list: p.listOptions(q, class)}
	for _, o := range set.list {
		set.wire = appendOption(set.wire, o)
	}
	if len(p.sets) >= maxOptionSets {
		clear(p.sets)
	}
	p.sets[optionKey{q.net, class, string(q.params)}] = set
	return set
}

func (p *plan) listOptions(q *query, class int) []Option {
	chosen := make(map[uint8]Option)
	add := func(o Option, force bool) {
		if force || q.asksFor(o.Code) || slices.Contains(always, o.Code) {
			chosen[o.Code] = o
		}
	}
	add(Addrs(optMask, q.net.mask()), true)
	add(Addrs(optBroadcast, toAddr(q.net.broadcast())), false)
	for _, o := range p.Options {
		add(o, false)
	}
	if class >= 0 {
		for _, o := range p.ClassOptions[class].Options {
			add(o, true)
		}
	}
	if q.net.router.IsValid() {
		add(Addrs(optRouter, q.net.router), true)
	}
	list := make([]Option, 0, len(chosen))
	for _, o := range chosen {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Option) int { return int(a.Code) - int(b.Code) })
	return list
}

// fit drops options until the rest takes no more than room: first those with the
// highest numbers, which are the newest and rarest, then those of lastToGo, never
// those of always.
func fit(all []Option, room int) []Option {
	order := slices.DeleteFunc(slices.Clone(all), func(o Option) bool { return slices.Contains(always, o.Code) })
	slices.SortFunc(order, func(a, b Option) int {
		return cmp.Or(slices.Index(lastToGo, a.Code)-slices.Index(lastToGo, b.Code), int(b.Code)-int(a.Code))
	})
	for _, drop := range order {
		if size(all) <= room {
			break
		}
		all = slices.DeleteFunc(all, func(o Option) bool { return o.Code == drop.Code })
	}
	return all
}

// appendOption encodes an option, one of more than 255 bytes in parts (RFC 3396).
func appendOption(b []byte, o Option) []byte {
	v := o.Value
	for len(v) > 255 {
		b = append(append(b, o.Code, 255), v[:255]...)
		v = v[255:]
	}
	return append(append(b, o.Code, byte(len(v))), v...)
}

func size(all []Option) (n int) {
	for _, o := range all {
		n += optionSize(o.Value)
	}
	return n
}

func optionSize(v []byte) int { return 2*max(1, (len(v)+254)/255) + len(v) }
