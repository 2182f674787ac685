package freepbx

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Mailbox is a line of voicemail.conf, as FreePBX's voicemail module writes it.
type Mailbox struct {
	Context, PIN, Email, Pager string
	Options                    string // key=value, separated by |
}

// notContexts are the sections of voicemail.conf that hold no mailboxes.
var notContexts = []string{"general", "zonemessages", "pbxaliases", "device"}

// parseMailboxes reads the mailboxes of voicemail.conf by number:
//
//	[default]
//	100 = 1234,Alice,alice@example.org,,attach=no|delete=no
func parseMailboxes(data []byte) map[string]Mailbox {
	out := make(map[string]Mailbox)
	section := ""
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, ";")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section, _, _ = strings.Cut(line[1:], "]")
			continue
		}
		number, value, ok := strings.Cut(line, "=")
		if !ok || section == "" || slices.Contains(notContexts, section) {
			continue
		}
		f := strings.SplitN(strings.TrimPrefix(strings.TrimSpace(value), ">"), ",", 5)
		f = append(f, "", "", "", "")
		out[strings.TrimSpace(number)] = Mailbox{Context: section, PIN: strings.TrimSpace(f[0]), Email: f[2], Pager: f[3], Options: f[4]}
	}
	return out
}

// parseAstDB reads what 'asterisk -rx "database show"' prints: a key and its value
// a line, filled up with blanks.
func parseAstDB(data []byte) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ": ")
		if key = strings.TrimSpace(key); ok && strings.HasPrefix(key, "/") {
			out[key] = strings.TrimRight(value, " \r\n")
		}
	}
	return out
}

// parseRTP reads the range of ports in rtp_additional.conf.
func parseRTP(data []byte) (first, last uint16) {
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		port, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(value, ">")), 10, 16)
		if err != nil {
			continue
		}
		switch strings.TrimSpace(key) {
		case "rtpstart":
			first = uint16(port)
		case "rtpend":
			last = uint16(port)
		}
	}
	return first, last
}

// parseNetworks reads the local networks of the module sipsettings: [{"net":"192.168.1.0","mask":"24"}]. A mask may be
// written with dots, too. What is no network is left out, as Asterisk leaves it out.
func parseNetworks(list string) (out []netip.Prefix) {
	var rows []struct{ Net, Mask any }
	if json.Unmarshal([]byte(list), &rows) != nil {
		return nil
	}
	for _, r := range rows {
		addr, err := netip.ParseAddr(strings.TrimSpace(fmt.Sprint(r.Net)))
		if err != nil {
			continue
		}
		mask := strings.TrimSpace(fmt.Sprint(r.Mask))
		bits, err := strconv.Atoi(mask)
		if dotted := net.ParseIP(mask).To4(); dotted != nil {
			bits, _ = net.IPMask(dotted).Size()
		} else if err != nil {
			continue
		}
		if p := netip.PrefixFrom(addr, bits); p.IsValid() {
			out = append(out, p.Masked())
		}
	}
	return out
}
