package dhcpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Places in a BOOTP message (RFC 2131 figure 1).
const (
	flagsAt   = 10
	ciaddrAt  = 12
	yiaddrAt  = 16
	siaddrAt  = 20
	giaddrAt  = 24
	chaddrAt  = 28
	cookieAt  = 236
	optionsAt = 240
)

// cookie begins the options.
const cookie = 0x63825363

// query is one message from a client and what was learned by reading it. Its slices
// are parts of the frame, which lives as long as the receive buffer.
type query struct {
	datagram
	mac       mac // chaddr
	kind      dhcpv4.MessageType
	requested netip.Addr // option 50, or zero
	serverID  netip.Addr // option 54, or zero
	ciaddr    netip.Addr // or zero
	giaddr    netip.Addr // or zero
	net       *network   // where the client is

	// Options 12, 60, 77, 61, 55 and 82; nil when not sent.
	hostname, class, userClass, clientID, params, relayInfo []byte
	maxSize                                                 int // option 57
}

// MessageType returns option 53.
func (q *query) MessageType() dhcpv4.MessageType { return q.kind }

// broadcast reports whether the client wants its answer for everybody to hear.
func (q *query) broadcast() bool { return q.payload[flagsAt]&0x80 != 0 }

// routed reports whether the client itself sent the message, from the address that
// it says it has.
func (q *query) routed() bool { return q.ciaddr.IsValid() && q.src == q.ciaddr }

// read checks a message before anything is decided by it.
func read(d datagram) (query, error) {
	q := query{datagram: d}
	m := d.payload
	if len(m) < optionsAt || binary.BigEndian.Uint32(m[cookieAt:]) != cookie {
		return q, errors.New("no DHCP message")
	}
	if op, kind, length := m[0], m[1], m[2]; op != byte(dhcpv4.OpcodeBootRequest) || kind != 1 || length != 6 {
		return q, fmt.Errorf("operation %d, hardware type %d, address length %d", op, kind, length)
	}
	var ok bool
	if q.mac, ok = toMAC(m[chaddrAt : chaddrAt+6]); !ok {
		return q, fmt.Errorf("client hardware address %x", m[chaddrAt:chaddrAt+6])
	}
	q.ciaddr, q.giaddr = addrOf(m[ciaddrAt:ciaddrAt+4]), addrOf(m[giaddrAt:giaddrAt+4])
	return q, q.readOptions(m[optionsAt:])
}

// readOptions reads what is asked of the options. Some clients forget the end option.
func (q *query) readOptions(b []byte) error {
	for len(b) > 0 && b[0] != optEnd {
		code := b[0]
		if code == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return fmt.Errorf("option %d is cut off", code)
		}
		if err := q.readOption(code, b[2:2+int(b[1])]); err != nil {
			return err
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

func (q *query) readOption(code uint8, v []byte) error {
	switch code {
	case optType:
		if len(v) != 1 {
			return fmt.Errorf("message type of %d bytes", len(v))
		}
		q.kind = dhcpv4.MessageType(v[0])
	case optRequested, optServerID:
		if len(v) != 4 {
			return fmt.Errorf("option %d of %d bytes", code, len(v))
		}
		if code == optRequested {
			q.requested = addrOf(v)
		} else {
			q.serverID = addrOf(v)
		}
	case optMaxSize:
		if len(v) == 2 {
			q.maxSize = int(binary.BigEndian.Uint16(v))
		}
	case optHostname:
		q.hostname = join(q.hostname, v)
	case optParams:
		q.params = join(q.params, v)
	case optClass:
		q.class = join(q.class, v)
	case optUserClass:
		q.userClass = join(q.userClass, v)
	case optClientID:
		q.clientID = join(q.clientID, v)
	case optRelayInfo:
		q.relayInfo = join(q.relayInfo, v)
	}
	return nil
}

// join puts the parts of an option together that was sent in several (RFC 3396).
func join(first, more []byte) []byte {
	if first == nil && len(more) > 0 {
		return more[:len(more):len(more)]
	}
	return append(first, more...)
}

// addrOf returns an address of a message; 0.0.0.0 is none.
func addrOf(b []byte) netip.Addr {
	if a := netip.AddrFrom4([4]byte(b)); !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

// clone returns a query that outlives the receive buffer.
func (q *query) clone() query {
	d := q.datagram
	d.payload = slices.Clone(d.payload)
	c, _ := read(d) // it was read before
	c.net = q.net
	return c
}

// event is something about a client that need not have an address.
func (q *query) event(what EventType, addr netip.Addr) Event {
	e := Event{
		Type: what, MAC: q.mac.hw(), Addr: addr,
		Hostname: clean(q.hostname), VendorClass: clean(q.class), ParamList: slices.Clone(q.params),
	}
	if q.relayInfo != nil {
		e.Circuit = fmt.Sprintf("%x", q.relayInfo)
	}
	return e
}

// event is something about a client and its address. For one that says what it said
// before nothing is allocated.
func (t *table) event(q *query, what EventType, r *record) Event {
	e := Event{
		Type: what, MAC: r.MAC, Addr: r.Addr,
		Hostname: cleaned(r.Hostname, q.hostname), VendorClass: t.className(q.class), ParamList: t.plan.optionsFor(q).params,
	}
	if q.relayInfo != nil {
		e.Circuit = fmt.Sprintf("%x", q.relayInfo)
	}
	return e
}

// cleaned is clean(b), which is old as a rule.
func cleaned(old string, b []byte) string {
	if string(b) == old {
		return old
	}
	return clean(b)
}

// maxClassNames bounds the vendor classes that are kept.
const maxClassNames = 256

// className is clean(b). All clients of a class share one string.
func (t *table) className(b []byte) string {
	if name, ok := t.classes[string(b)]; ok {
		return name
	}
	if len(t.classes) >= maxClassNames {
		clear(t.classes)
	}
	name := clean(b)
	t.classes[string(b)] = name
	return name
}

// clean removes what a client could break a log or a terminal with, and bounds it.
func clean(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return -1
		}
		return r
	}, string(b))
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "")
	}
	return s
}
