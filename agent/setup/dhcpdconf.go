package setup

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
)

// statement is one statement of a dhcpd.conf(5): words up to a semicolon, or
// words and a block.
type statement struct {
	line  int
	words []string
	block []statement
}

// parseDHCPD reads a dhcpd.conf into statements.
func parseDHCPD(text string) ([]statement, error) {
	p := &confParser{text: text, line: 1}
	list, err := p.statements(0)
	if err == nil && p.pos < len(p.text) {
		err = fmt.Errorf("line %d: a } without a {", p.line)
	}
	return list, err
}

// maxNesting bounds the blocks in blocks; dhcpd's own files have four.
const maxNesting = 20

type confParser struct {
	text string
	pos  int
	line int
}

func (p *confParser) statements(depth int) ([]statement, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("line %d: too many blocks in blocks", p.line)
	}
	var out []statement
	var now statement
	for {
		token, ok := p.next()
		switch {
		case !ok || token == "}":
			if len(now.words) > 0 {
				return nil, fmt.Errorf("line %d: a semicolon is missing after %q", now.line, strings.Join(now.words, " "))
			}
			if ok && depth == 0 {
				p.pos--
			}
			return out, nil
		case token == "{":
			block, err := p.statements(depth + 1)
			if err != nil {
				return nil, err
			}
			now.block = block
			if now.block == nil {
				now.block = []statement{}
			}
			out, now = append(out, now), statement{}
		case token == ";":
			if len(now.words) > 0 {
				out = append(out, now)
			}
			now = statement{}
		case token != ",":
			if len(now.words) == 0 {
				now.line = p.line
			}
			now.words = append(now.words, token)
		}
	}
}

// next returns the next word, string or sign.
func (p *confParser) next() (string, bool) {
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '\n':
			p.line++
			p.pos++
		case c == ' ' || c == '\t' || c == '\r':
			p.pos++
		case c == '#':
			for p.pos < len(p.text) && p.text[p.pos] != '\n' {
				p.pos++
			}
		case strings.IndexByte("{};,", c) >= 0:
			p.pos++
			return string(c), true
		case c == '"':
			return p.quoted(), true
		default:
			start := p.pos
			for p.pos < len(p.text) && strings.IndexByte(" \t\r\n{};,\"#", p.text[p.pos]) < 0 {
				p.pos++
			}
			return p.text[start:p.pos], true
		}
	}
	return "", false
}

func (p *confParser) quoted() string {
	p.pos++
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] != '"' {
		if p.text[p.pos] == '\n' {
			p.line++
		}
		p.pos++
	}
	s := p.text[start:p.pos]
	p.pos = min(p.pos+1, len(p.text))
	return s
}

// dhcpReader takes a dhcpd.conf over into a configuration.
type dhcpReader struct {
	c      *config.Config
	notes  []string
	subnet netip.Prefix
}

func (r *dhcpReader) note(s statement, why string) {
	r.notes = append(r.notes, fmt.Sprintf("dhcpd.conf line %d: %q %s", s.line, strings.Join(s.words, " "), why))
}

func (r *dhcpReader) read(list []statement) {
	for _, s := range list {
		w := s.words
		if len(w) == 0 {
			r.read(s.block)
			continue
		}
		switch w[0] {
		case "subnet":
			r.readSubnet(s)
		case "group", "shared-network", "pool":
			r.read(s.block)
		case "host":
			r.host(s)
		case "range":
			r.addrRange(s)
		case "option":
			r.option(s)
		case "default-lease-time":
			if n, err := strconv.Atoi(second(w)); err == nil && n >= 120 {
				r.c.DHCP.LeaseTime = time.Duration(n) * time.Second
			}
		case "max-lease-time", "min-lease-time", "authoritative", "not", "ddns-update-style", "log-facility", "ignore", "deny", "allow":
			// of no use here: our server decides these itself
		default:
			r.note(s, "is not taken over")
		}
	}
}

func second(w []string) string {
	if len(w) < 2 {
		return ""
	}
	return w[1]
}

func (r *dhcpReader) readSubnet(s statement) {
	if len(s.words) != 4 {
		r.note(s, "is no subnet")
		return
	}
	addr, err1 := netip.ParseAddr(s.words[1])
	mask := net.ParseIP(s.words[3]).To4()
	if err1 != nil || mask == nil {
		r.note(s, "is no subnet")
		return
	}
	ones, _ := net.IPMask(mask).Size()
	p := netip.PrefixFrom(addr, ones)
	if len(s.block) == 0 {
		return // only tells dhcpd that the network is there
	}
	if r.subnet.IsValid() {
		r.note(s, "is not taken over: one LAN is served")
		return
	}
	r.subnet = p.Masked()
	r.read(s.block)
}

func (r *dhcpReader) addrRange(s statement) {
	var ends []netip.Addr
	for _, w := range s.words[1:] {
		if a, err := netip.ParseAddr(w); err == nil {
			ends = append(ends, a)
		}
	}
	if len(ends) == 0 || len(ends) > 2 || !r.c.DHCP.Range.IsZero() {
		r.note(s, "is not taken over: one range is served")
		return
	}
	r.c.DHCP.Range = config.AddrRange{First: ends[0], Last: ends[len(ends)-1]}
}

// option takes an option over that has a key of its own.
func (r *dhcpReader) option(s statement) {
	if len(s.words) < 3 {
		return
	}
	var addrs []netip.Addr
	for _, w := range s.words[2:] {
		if a, err := netip.ParseAddr(w); err == nil && a.Is4() {
			addrs = append(addrs, a)
		}
	}
	switch name := s.words[1]; {
	case name == "routers" && len(addrs) > 0:
		r.c.DHCP.Gateway = addrs[0]
	case name == "domain-name-servers" && len(addrs) > 0:
		r.c.DHCP.DNS = addrs
	case name == "ntp-servers" && len(addrs) > 0:
		r.c.DHCP.NTP = addrs
	case name == "domain-name":
		r.c.DHCP.Domain = s.words[2]
	case name == "tftp-server-name":
		r.c.Provisioning.URL = s.words[2]
		if !strings.Contains(s.words[2], "://") {
			r.c.Provisioning.URL = "tftp://" + s.words[2]
		}
	case name == "subnet-mask" || name == "broadcast-address":
	default:
		r.note(s, "is not taken over: see dhcp.options")
	}
}

func (r *dhcpReader) host(s statement) {
	res := config.Reservation{}
	for _, b := range s.block {
		switch {
		case len(b.words) == 3 && b.words[0] == "hardware":
			res.MAC, _ = net.ParseMAC(b.words[2])
		case len(b.words) >= 2 && b.words[0] == "fixed-address":
			res.IP, _ = netip.ParseAddr(b.words[1])
		case len(b.words) == 3 && b.words[1] == "host-name":
			res.Hostname = b.words[2]
		default:
			r.note(b, "of a host is not taken over")
		}
	}
	if res.Hostname == "" && validHostname(second(s.words)) {
		res.Hostname = second(s.words)
	}
	if len(res.MAC) != 6 || !res.IP.Is4() {
		r.note(s, "is not taken over: it has no MAC, or no address")
		return
	}
	r.c.DHCP.Reservations = append(r.c.DHCP.Reservations, res)
}

func validHostname(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.HasPrefix(s, "-")
}
