package takeover

import (
	"slices"
	"strings"
)

// mark begins a line of interfaces(5) that was taken out.
const mark = "#sae-agent# "

// stanzas are the words that begin a stanza (interfaces(5)).
var stanzas = []string{"iface", "mapping", "auto", "no-auto-down", "no-scripts", "source", "source-directory", "rename", "template"}

func beginsStanza(word string) bool {
	return slices.Contains(stanzas, word) || strings.HasPrefix(word, "allow-")
}

// withoutCards returns a file of interfaces(5) in which the cards have no IPv4
// stanza: their lines become comments.
func withoutCards(content string, cards []string) string {
	keep := stillConfigured(content, cards)
	var out strings.Builder
	inside := false
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case f[0] == "iface":
			inside = isTaken(f, cards)
		case beginsStanza(f[0]):
			inside = false
			if f[0] == "auto" || strings.HasPrefix(f[0], "allow-") {
				line = withoutNames(line, f, cards, keep)
			}
		}
		if inside && len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			out.WriteString(mark)
		}
		out.WriteString(line)
	}
	return out.String()
}

// isTaken reports whether an iface line gives one of the cards an IPv4 address.
func isTaken(f []string, cards []string) bool {
	return len(f) >= 4 && slices.Contains(cards, f[1]) && f[2] == "inet" && f[3] != "manual"
}

// stillConfigured are the cards that keep a stanza, for IPv6 say.
func stillConfigured(content string, cards []string) (keep []string) {
	for line := range strings.Lines(content) {
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "iface" && slices.Contains(cards, f[1]) && !isTaken(f, cards) {
			keep = append(keep, f[1])
		}
	}
	return keep
}

// withoutNames takes cards out of a line such as "auto lo ens34".
func withoutNames(line string, f, cards, keep []string) string {
	var rest []string
	for _, name := range f[1:] {
		if !slices.Contains(cards, name) || slices.Contains(keep, name) {
			rest = append(rest, name)
		}
	}
	switch {
	case len(rest) == len(f)-1:
		return line
	case len(rest) == 0:
		return mark + line
	}
	return mark + line + f[0] + " " + strings.Join(rest, " ") + "\n"
}
