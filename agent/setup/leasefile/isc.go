package leasefile

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// parseISC reads a dhcpd.leases(5): a journal of "lease ADDRESS { … }" with one
// statement a line, in which the last entry of an address counts. What is in other
// blocks (failover, hosts of OMAPI) is skipped.
func parseISC(data []byte, into table) error {
	var l Lease
	var active, inside bool
	depth := 0
	return lines(data, func(line string) error {
		words := iscWords(line)
		if len(words) == 0 {
			return nil
		}
		opens := words[len(words)-1] == "{"
		switch {
		case words[0] == "}":
			if depth--; depth <= 0 {
				if inside {
					into.set(l, active)
				}
				depth, inside = 0, false
			}
		case opens && depth == 0 && words[0] == "lease" && len(words) == 3:
			addr, err := netip.ParseAddr(words[1])
			if err != nil {
				return err
			}
			l, active, inside, depth = Lease{Addr: addr}, false, true, 1
		case opens:
			depth++
		case inside && depth == 1:
			if err := iscStatement(words, &l, &active); err != nil {
				return fmt.Errorf("lease of %v: %w", l.Addr, err)
			}
		}
		return nil
	})
}

// iscStatement takes one statement of a lease over.
func iscStatement(words []string, l *Lease, active *bool) error {
	switch first := words[0]; {
	case first == "ends":
		end, err := iscTime(words[1:])
		if err != nil {
			return err
		}
		l.Expires = end
	case first == "binding" && len(words) == 3: // not "next binding state"
		*active = words[2] == "active"
	case first == "hardware" && len(words) == 3 && words[1] == "ethernet":
		l.MAC = ethernet(words[2])
	case first == "uid" && len(words) == 2:
		l.ClientID = []byte(words[1])
	case first == "client-hostname" && len(words) == 2:
		l.Hostname = words[1]
	}
	return nil
}

// iscTime reads "3 2026/11/28 03:00:00" (UTC, after the day of the week), "epoch
// 1795834800" or "never", which is the zero time.
func iscTime(words []string) (time.Time, error) {
	switch {
	case len(words) == 1 && words[0] == "never":
		return time.Time{}, nil
	case len(words) >= 2 && words[0] == "epoch":
		n, err := strconv.ParseInt(words[1], 10, 64)
		return time.Unix(n, 0).UTC(), err
	case len(words) >= 3:
		return time.Parse("2006/01/02 15:04:05", words[1]+" "+words[2])
	}
	return time.Time{}, fmt.Errorf("%q is not a time", strings.Join(words, " "))
}

// iscWords splits a line into words, without its semicolon and comment. A quoted
// word has its escapes resolved: \" \\ and three octal digits.
func iscWords(line string) (out []string) {
	for {
		line = strings.TrimLeft(line, " \t;")
		switch {
		case line == "" || line[0] == '#':
			return out
		case line[0] == '"':
			word, rest := iscQuoted(line[1:])
			out, line = append(out, word), rest
		default:
			n := strings.IndexAny(line, " \t;")
			if n < 0 {
				n = len(line)
			}
			out, line = append(out, line[:n]), line[n:]
		}
	}
}

// iscQuoted reads a text up to its closing quote.
func iscQuoted(s string) (word, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			if n, err := strconv.ParseUint(s[i+1:min(i+4, len(s))], 8, 8); err == nil && i+4 <= len(s) {
				b.WriteByte(byte(n))
				i += 3
			} else {
				i++
				b.WriteByte(s[i])
			}
		}
	}
	return b.String(), ""
}
