package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// forged is a SIP request to an address in the name of the n-th made-up sender, as
// an IPv4 packet (RFC 791 section 3.1, RFC 768).
func forged(to netip.Addr, n int) []byte {
	from := netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
	switch n % 50 {
	case 0:
		from = netip.MustParseAddr("192.168.1.51") // Alice's phone
	case 1:
		from = to
	}
	method := [...]string{"REGISTER", "INVITE", "OPTIONS"}[n%3]
	text := fmt.Sprintf("%[1]s sip:100@%[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[3]s:5060;branch=z9hG4bK%[4]d\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%[4]d@%[2]s>;tag=%[4]d\r\nTo: <sip:100@%[2]s>\r\nCall-ID: %[4]d\r\nCSeq: 1 %[1]s\r\nContact: <sip:x@%[3]s>\r\nContent-Length: 0\r\n\r\n",
		method, to, from, n)
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(28+len(text)))
	b = append(b, 0, 0, 0, 0, 64, 17, 0, 0) // the kernel fills in identification and checksum
	b = append(b, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, 5060)
	b = binary.BigEndian.AppendUint16(b, 5060)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(text)))
	b = append(b, 0, 0) // no checksum
	return append(b, text...)
}
