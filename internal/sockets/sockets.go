// Package sockets reads the kernel's tables of sockets, such as /proc/net/tcp (proc(5)).
package sockets

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Socket is a line of a table.
type Socket struct {
	Protocol      string // tcp or udp, of IPv4 or IPv6
	Local, Remote netip.AddrPort
	State         string // in the table's own words
	Inode         string
}

// States of sockets. A UDP socket without a peer is Unconnected.
const (
	Established = "01"
	Unconnected = "07"
	Listen      = "0A"
)

// Read returns the sockets of the caller's network, from the proc file system at proc.
func Read(proc string) (out []Socket, err error) {
	for _, table := range []string{"udp", "udp6", "tcp", "tcp6"} {
		data, err := os.ReadFile(filepath.Join(proc, "self/net", table))
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Parse(data, strings.TrimSuffix(table, "6"))...)
	}
	return out, nil
}

// Parse reads one table. What is no socket is left out.
func Parse(data []byte, protocol string) (out []Socket) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		local, ok := parseAddr(f[1])
		remote, known := parseAddr(f[2])
		if ok && known {
			out = append(out, Socket{protocol, local, remote, f[3], f[9]})
		}
	}
	return out
}

// parseAddr reads 0101A8C0:0045: words of the host's byte order, then the port.
func parseAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), ok
}
