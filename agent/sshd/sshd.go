// Package sshd finds out what the firewall must never lock out: the ports of this
// machine's SSH server, and where those come from who are logged in over it. It
// only reads files, since the daemon may not look into other programs.
package sshd

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// defaultPort is where sshd(8) listens when nobody says otherwise.
const defaultPort = 22

// maxDepth bounds files that include each other.
const maxDepth = 4

// Ports reads the ports from the server's configuration below root, sorted. They
// are also those of ListenAddress (sshd_config(5)).
func Ports(root string) []uint16 {
	var ports []uint16
	each(root, "/etc/ssh/sshd_config", maxDepth, func(key, value string) {
		switch key {
		case "port":
			addPort(&ports, value)
		case "listenaddress":
			if ap, err := netip.ParseAddrPort(value); err == nil {
				addPort(&ports, strconv.Itoa(int(ap.Port())))
			} else if _, port, ok := strings.Cut(value, ":"); ok && strings.Count(value, ":") == 1 {
				addPort(&ports, port)
			}
		}
	})
	if len(ports) == 0 {
		return []uint16{defaultPort}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// each passes the settings for the whole server, also those of included files, to use.
func each(root, path string, depth int, use func(key, value string)) {
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil || depth == 0 {
		return // no server, or none that we can read
	}
	for line := range strings.Lines(string(data)) {
		key, value := setting(line)
		switch key {
		case "match": // what follows is not for the whole server
			return
		case "include":
			include(root, value, depth-1, use)
		default:
			use(key, value)
		}
	}
}

// setting takes a line apart: a word, blanks or one =, a value.
func setting(line string) (key, value string) {
	line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return "", ""
	}
	return strings.ToLower(line[:end]), strings.Trim(line[end:], " \t=\"")
}

func include(root, patterns string, depth int, use func(key, value string)) {
	for pattern := range strings.FieldsSeq(patterns) {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join("/etc/ssh", pattern)
		}
		paths, _ := filepath.Glob(filepath.Join(root, pattern)) // a bad pattern names no file
		for _, p := range paths {
			each("/", p, depth, use)
		}
	}
}

func addPort(ports *[]uint16, text string) {
	if p, err := strconv.ParseUint(text, 10, 16); err == nil && p != 0 {
		*ports = append(*ports, uint16(p))
	}
}

// Operators returns where those come from who are logged in over the network, by
// utmp(5) and by the sessions of systemd-logind. Both are written after a login
// has succeeded, never before.
func Operators(root string) []netip.Addr {
	data, _ := os.ReadFile(filepath.Join(root, "run/utmp")) // absent: nobody is
	out := parseUtmp(data)
	files, _ := filepath.Glob(filepath.Join(root, "run/systemd/sessions/*"))
	for _, f := range files {
		if st, err := os.Lstat(f); err != nil || !st.Mode().IsRegular() {
			continue // over meanwhile; or a FIFO, by which logind sees a session's end
		}
		session, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if a, ok := parseSession(string(session)); ok {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// A record of utmp(5) on Linux.
const (
	utmpSize    = 384
	utmpAddr    = 348 // ut_addr_v6; IPv4 is in its first word
	userProcess = 7
)

func parseUtmp(data []byte) (out []netip.Addr) {
	for ; len(data) >= utmpSize; data = data[utmpSize:] {
		if binary.NativeEndian.Uint16(data) != userProcess {
			continue
		}
		raw := [16]byte(data[utmpAddr : utmpAddr+16])
		a := netip.AddrFrom16(raw).Unmap()
		if [12]byte(raw[4:]) == [12]byte{} {
			a = netip.AddrFrom4([4]byte(raw[:4]))
		}
		if !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}

// parseSession reads REMOTE_HOST of a session that has not ended.
func parseSession(text string) (netip.Addr, bool) {
	var a netip.Addr
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "REMOTE_HOST":
			a, _ = netip.ParseAddr(value)
		case "STATE":
			if value == "closing" {
				return netip.Addr{}, false
			}
		}
	}
	return a.Unmap().WithZone(""), a.IsValid()
}
