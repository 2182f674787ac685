package leasefile

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// parseDnsmasq reads dnsmasq's leases, one a line: the end (seconds since 1970, 0:
// none), MAC, address, host name and client identifier, "*" where there is none.
// A line "duid" begins those of IPv6.
func parseDnsmasq(data []byte, into table) error {
	over := false
	return lines(data, func(line string) error {
		f := strings.Fields(line)
		if len(f) > 0 && f[0] == "duid" {
			over = true
		}
		if over || len(f) < 4 {
			return nil // half of the last line, when the server is writing
		}
		end, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a time", f[0])
		}
		addr, err := netip.ParseAddr(f[2])
		if err != nil {
			return err
		}
		l := Lease{Addr: addr, MAC: ethernet(f[1])}
		if end != 0 {
			l.Expires = time.Unix(end, 0).UTC()
		}
		if f[3] != "*" {
			l.Hostname = f[3]
		}
		if len(f) > 4 && f[4] != "*" {
			l.ClientID, _ = hex.DecodeString(strings.ReplaceAll(f[4], ":", ""))
		}
		into.set(l, true)
		return nil
	})
}

// ethernet reads an Ethernet address; other hardware has a type before it and is
// nil here.
func ethernet(s string) net.HardwareAddr {
	m, err := net.ParseMAC(strings.TrimPrefix(s, "01-"))
	if err != nil || len(m) != 6 || strings.ContainsAny(s[2:], "-") && !strings.HasPrefix(s, "01-") {
		return nil
	}
	return m
}
