package dhcpload

import (
	"encoding/binary"
	"net/netip"
)

// Message types (RFC 2132 section 9.6).
const (
	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
	nak      = 6
	inform   = 8
)

// Offsets in a BOOTP packet (RFC 2131 section 2).
const (
	xidAt     = 4
	ciaddrAt  = 12
	yiaddrAt  = 16
	giaddrAt  = 24
	chaddrAt  = 28
	cookieAt  = 236
	optionsAt = 240
	typeAt    = optionsAt + 2 // the message type comes first in what we send
	minPacket = 300           // shorter ones are dropped by some relays and servers

	cookie = 0x63825363
)

// fixed are the options of all messages after the type: those of a Yealink phone.
var fixed = []byte{
	60, 7, 'y', 'e', 'a', 'l', 'i', 'n', 'k',
	55, 10, 1, 3, 6, 12, 15, 42, 43, 66, 2, 120,
}

// message writes a message of a client into packet, which may be an earlier one, and
// returns it. has is the address that the client has, or zero.
func message(packet []byte, kind byte, client int, xid uint32, relay netip.Addr, has [4]byte) []byte {
	if packet == nil {
		packet = make([]byte, minPacket)
		packet[0], packet[1], packet[2], packet[3] = 1, 1, 6, 1 // BOOTREQUEST, Ethernet, 6 bytes, one hop
		giaddr := relay.As4()
		copy(packet[giaddrAt:], giaddr[:])
		binary.BigEndian.PutUint32(packet[cookieAt:], cookie)
	}
	binary.BigEndian.PutUint32(packet[xidAt:], xid)
	copy(packet[ciaddrAt:], has[:])
	copy(packet[chaddrAt:], MAC(client))
	options := append(packet[:optionsAt], 53, 1, kind)
	options = append(options, fixed...)
	options = append(options, 255)
	clear(packet[len(options):])
	return packet
}

// requestFor turns the DHCPDISCOVER in packet into the DHCPREQUEST that takes the offer.
func requestFor(packet []byte, o answer) []byte {
	options := append(packet[:optionsAt], 53, 1, request)
	options = append(options, fixed...)
	options = append(append(options, 50, 4), o.yours[:]...)
	options = append(append(options, 54, 4), o.server[:]...)
	options = append(options, 255)
	clear(packet[len(options):])
	return packet
}

// answer is what matters of a server's message.
type answer struct {
	kind   byte
	xid    uint32
	yours  [4]byte
	server [4]byte
}

func parseAnswer(p []byte) (a answer, ok bool) {
	if len(p) < optionsAt || p[0] != 2 || binary.BigEndian.Uint32(p[cookieAt:]) != cookie {
		return a, false
	}
	a.xid = binary.BigEndian.Uint32(p[xidAt:])
	a.yours = [4]byte(p[yiaddrAt:])
	for o := p[optionsAt:]; len(o) > 0 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || len(o) < 2+int(o[1]) {
			return a, false
		}
		value := o[2 : 2+o[1]]
		switch {
		case o[0] == 53 && len(value) == 1:
			a.kind = value[0]
		case o[0] == 54 && len(value) == 4:
			a.server = [4]byte(value)
		}
		o = o[2+o[1]:]
	}
	return a, a.kind != 0
}
