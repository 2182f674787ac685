package leasedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// leaseVersion is the version of a lease that is written. A later version keeps a
// decoder for every earlier one, reads them all and writes its own: a file changes
// over lease by lease as clients renew. The way back does not exist (ErrNewer).
const leaseVersion = 1

// Which times a record carries; a zero time has no place in a varint.
const (
	flagStart = 1 << iota
	flagExpires
)

// errRefused marks a change that this store does not take.
var errRefused = errors.New("refused")

// encodeLease returns key and value of a lease; the value is nil when it is to be
// deleted. The key is the address, the value (all integers are varints):
//
//	checksum [4] version [1] state [1] flags [1]
//	[start, ns since 1970] [expires, ns since start or 1970]
//	MAC, client id, hostname, vendor class (each its length, then its bytes)
func encodeLease(l *dhcpd.Lease) (key, value []byte, err error) {
	if !l.Addr.Is4() {
		return nil, nil, fmt.Errorf("%w: %v is no IPv4 address", errRefused, l.Addr)
	}
	addr := l.Addr.As4()
	key = addr[:]
	switch l.State {
	case dhcpd.StateFree:
		return key, nil, nil
	case dhcpd.StateOffered:
		return nil, nil, fmt.Errorf("%w: %v is only offered", errRefused, l.Addr)
	}
	start, hasStart, err := nanos(l.Start)
	if err != nil {
		return nil, nil, err
	}
	expires, hasExpires, err := nanos(l.Expires)
	if err != nil {
		return nil, nil, err
	}
	b := make([]byte, sumSize, 48+len(l.MAC)+len(l.ClientID)+len(l.Hostname)+len(l.VendorClass))
	b = append(b, leaseVersion, byte(l.State), hasStart*flagStart|hasExpires*flagExpires)
	if hasStart != 0 {
		b = binary.AppendVarint(b, start)
	}
	if hasExpires != 0 {
		b = binary.AppendVarint(b, expires-start)
	}
	b = appendBytes(b, l.MAC)
	b = appendBytes(b, l.ClientID)
	b = appendBytes(b, l.Hostname)
	b = appendBytes(b, l.VendorClass)
	seal(key, b)
	return key, b, nil
}

// decodeLease is the inverse of encodeLease. Nothing it returns points into value.
// Times are in UTC.
func decodeLease(key, value []byte) (dhcpd.Lease, error) {
	addr, ok := netip.AddrFromSlice(key)
	if !ok || !addr.Is4() {
		return dhcpd.Lease{}, fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(key))
	}
	version, r, err := open(key, value)
	if err != nil {
		return dhcpd.Lease{}, fmt.Errorf("lease %v: %w", addr, err)
	}
	if version != leaseVersion {
		return dhcpd.Lease{}, fmt.Errorf("lease %v: %w: version %d, this program knows up to %d", addr, ErrNewer, version, leaseVersion)
	}
	l := dhcpd.Lease{Addr: addr, State: dhcpd.State(r.byte())}
	flags := r.byte()
	var start int64
	if flags&flagStart != 0 {
		start = r.varint()
		l.Start = time.Unix(0, start).UTC()
	}
	if flags&flagExpires != 0 {
		l.Expires = time.Unix(0, start+r.varint()).UTC()
	}
	l.MAC = clone[net.HardwareAddr](r.bytes())
	l.ClientID = clone[[]byte](r.bytes())
	l.Hostname = string(r.bytes())
	l.VendorClass = string(r.bytes())
	if err := r.end(); err != nil {
		return dhcpd.Lease{}, fmt.Errorf("lease %v: %w", addr, err)
	}
	return l, nil
}

// nanos returns a time in nanoseconds since 1970 and 1, or 0 and 0 for the zero
// time. Beyond the years 1678 to 2262 the count overflows.
func nanos(t time.Time) (ns int64, has byte, err error) {
	if t.IsZero() {
		return 0, 0, nil
	}
	if ns = t.UnixNano(); !time.Unix(0, ns).Equal(t) {
		return 0, 0, fmt.Errorf("%w: time %v is out of range", errRefused, t)
	}
	return ns, 1, nil
}

func clone[T ~[]byte](b []byte) T {
	if len(b) == 0 {
		return nil
	}
	return append(T{}, b...)
}
