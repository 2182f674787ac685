// Package leasefile reads the lease files of other DHCP servers: isc-dhcpd's,
// dnsmasq's and Kea's. It only reads.
package leasefile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Lease is an address that another server has given to a client.
type Lease struct {
	Addr     netip.Addr       `json:"address"`
	MAC      net.HardwareAddr `json:"mac"`
	ClientID []byte           `json:"client_id,omitempty"`
	Hostname string           `json:"hostname,omitempty"`
	// Expires is zero for a lease that has no end.
	Expires time.Time `json:"expires,omitzero"`
}

// live reports whether the client may still use the address.
func (l Lease) live(now time.Time) bool { return l.Expires.IsZero() || l.Expires.After(now) }

// table is a lease file as it is read: a later entry of an address replaces an
// earlier one.
type table map[netip.Addr]Lease

func (t table) set(l Lease, active bool) {
	if !active || len(l.MAC) != 6 || !l.Addr.Is4() {
		delete(t, l.Addr)
		return
	}
	t[l.Addr] = l
}

// Format is how a server writes its leases.
type Format struct {
	Server string // for people
	// Paths are the files in Debian, in the order in which they are read.
	Paths []string
	parse func(data []byte, into table) error
}

// Formats returns the formats that are known.
func Formats() []Format {
	const kea = "/var/lib/kea/kea-leases4.csv"
	return []Format{
		{"isc-dhcpd", []string{"/var/lib/dhcp/dhcpd.leases"}, parseISC},
		{"dnsmasq", []string{"/var/lib/misc/dnsmasq.leases"}, parseDnsmasq},
		// What its clean-up has written, then what it was given, then what came since.
		{"Kea", []string{kea + ".2", kea + ".completed", kea + ".1", kea}, parseKea},
	}
}

// maxSize bounds what is read: 64 MiB are 200,000 leases of the most talkative server.
const maxSize = 64 << 20

// Found is what a server's lease files hold.
type Found struct {
	Server string
	Path   string  // the newest file
	Live   []Lease // by address
}

// Read reads the lease files of all known servers below root. A server without one
// is left out.
func Read(root string, now time.Time) ([]Found, error) {
	var out []Found
	var errs []error
	for _, f := range Formats() {
		leases, path := make(table), ""
		for _, p := range f.Paths {
			data, err := readFile(filepath.Join(root, p))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = f.parse(data, leases)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("leases of %s in %s: %w", f.Server, p, err))
			}
			path = p
		}
		if path != "" {
			out = append(out, Found{Server: f.Server, Path: path, Live: leases.live(now)})
		}
	}
	return out, errors.Join(errs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("larger than %d bytes", maxSize)
	}
	return data, err
}

// live returns the leases that have not ended, by address.
func (t table) live(now time.Time) []Lease {
	var out []Lease
	for _, a := range slices.SortedFunc(maps.Keys(t), netip.Addr.Compare) {
		if l := t[a]; l.live(now) {
			out = append(out, l)
		}
	}
	return out
}

// Merge puts the live leases of several servers together. Of two for one address
// or one client the longer one counts.
func Merge(found []Found) []Lease {
	var all []Lease
	for _, f := range found {
		all = append(all, f.Live...)
	}
	slices.SortStableFunc(all, func(a, b Lease) int {
		if a.Expires.IsZero() != b.Expires.IsZero() {
			return cmp.Compare(boolInt(b.Expires.IsZero()), boolInt(a.Expires.IsZero()))
		}
		return b.Expires.Compare(a.Expires)
	})
	addrs, macs := make(map[netip.Addr]bool), make(map[string]bool)
	all = slices.DeleteFunc(all, func(l Lease) bool {
		twice := addrs[l.Addr] || macs[string(l.MAC)]
		addrs[l.Addr], macs[string(l.MAC)] = true, true
		return twice
	})
	slices.SortFunc(all, func(a, b Lease) int { return a.Addr.Compare(b.Addr) })
	return all
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lines calls fn with each line, without its end. A line that cannot be read is
// left out; the error names the first and counts them.
func lines(data []byte, fn func(string) error) error {
	var first error
	n, bad := 0, 0
	for line := range bytes.Lines(data) {
		n++
		err := fn(string(bytes.TrimRight(line, "\r\n")))
		if err == nil {
			continue
		}
		if bad++; bad == 1 {
			first = fmt.Errorf("line %d: %w", n, err)
		}
	}
	if bad > 1 {
		return fmt.Errorf("%w, and %d more lines", first, bad-1)
	}
	return first
}
