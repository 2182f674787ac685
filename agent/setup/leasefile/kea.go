package leasefile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keaForever is a lifetime without an end.
const keaForever = 1<<32 - 1

// keaBound is the state of a lease that its client may use.
const keaBound = "0"

// parseKea reads the CSV file of Kea's memfile. Its first line names the columns,
// which differ between versions. An entry with a lifetime of 0 removes the address;
// a comma in a field is written as &#x2c.
func parseKea(data []byte, into table) error {
	var columns []string
	return lines(data, func(line string) error {
		f := strings.Split(line, ",")
		if columns == nil {
			if !slices.Contains(f, "address") || !slices.Contains(f, "expire") {
				return errors.New("no column names of Kea's DHCPv4 leases")
			}
			columns = f
			return nil
		}
		field := func(name string) string {
			if i := slices.Index(columns, name); i >= 0 && i < len(f) {
				return strings.ReplaceAll(f[i], "&#x2c", ",")
			}
			return ""
		}
		if field("expire") == "" {
			return nil // an empty line, or half of the last one
		}
		addr, err := netip.ParseAddr(field("address"))
		if err != nil {
			return err
		}
		end, err1 := strconv.ParseInt(field("expire"), 10, 64)
		lifetime, err2 := strconv.ParseUint(field("valid_lifetime"), 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("lease of %v: %w", addr, err)
		}
		l := Lease{Addr: addr, MAC: ethernet(field("hwaddr")), Hostname: strings.TrimSuffix(field("hostname"), ".")}
		l.ClientID, _ = hex.DecodeString(strings.ReplaceAll(field("client_id"), ":", ""))
		if lifetime != keaForever {
			l.Expires = time.Unix(end, 0).UTC()
		}
		into.set(l, lifetime > 0 && field("state") == keaBound)
		return nil
	})
}
