package firewall

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// openFor is how long a session that was open before the rules may be silent.
const openFor = 24 * time.Hour

// session is a TCP connection of this machine.
type session struct{ local, remote netip.AddrPort }

// openSessions lists the TCP connections that are established, but for those
// within the machine. Connection tracking begins with our first ruleset and knows
// none of them: they must not be cut off.
func openSessions() []session {
	var out []session
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // no IPv6
		}
		out = append(out, parseSessions(data)...)
	}
	return out
}

// parseSessions reads a table of proc_net_tcp(5).
func parseSessions(data []byte) []session {
	const established = "01"
	var out []session
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || f[3] != established {
			continue
		}
		local, ok1 := parseAddrPort(f[1])
		remote, ok2 := parseAddrPort(f[2])
		if ok1 && ok2 && !remote.Addr().IsLoopback() && local.Addr().Is4() == remote.Addr().Is4() {
			out = append(out, session{local, remote})
		}
	}
	return out
}

// parseAddrPort reads 0101A8C0:0045: words of the machine's byte order, then the port.
func parseAddrPort(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p)), ok
}

// member is the session as an element of the set of open sessions.
func (s session) member() member {
	return member{
		set:     setOpen + familyOf(s.remote.Addr()).suffix,
		concat:  fmt.Sprintf("%v . %d . %v . %d", s.remote.Addr(), s.remote.Port(), s.local.Addr(), s.local.Port()),
		timeout: openFor, expires: openFor,
	}
}
