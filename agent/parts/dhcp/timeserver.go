package dhcp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// TimeServerRuns reports whether a time server (UDP port 123, RFC 5905) listens
// on the LAN address, so that phones can be sent to it (option 42).
func TimeServerRuns(lan netip.Addr) bool {
	data, err := os.ReadFile("/proc/net/udp")
	return err == nil && listensOn(data, lan, "007B")
}

// listensOn searches the text of /proc/net/udp (proc_net_udp(5)) for a socket on
// the hexadecimal port, bound to addr or to every address.
func listensOn(procNetUDP []byte, addr netip.Addr, port string) bool {
	b := addr.As4()
	slices.Reverse(b[:]) // the kernel prints it in the machine's order, little-endian on all that we ship for
	want := []string{"00000000:" + port, strings.ToUpper(hex.EncodeToString(b[:])) + ":" + port}
	lines := bufio.NewScanner(bytes.NewReader(procNetUDP))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && slices.Contains(want, fields[1]) {
			return true
		}
	}
	return false
}
