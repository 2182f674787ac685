package sim

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// parseBoot reads a boot file and returns the names of the files that it includes
// for a phone of the model, in their order. Lines are `include:config "name"` or
// `include:config <name>`; after a line such as [T42U,T46U] they count for these
// models only.
func parseBoot(data []byte, model string) []string {
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxFile)
	for mine := true; lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if section, ok := enclosed(line, '[', ']'); ok {
			mine = slices.ContainsFunc(strings.Split(section, ","), func(m string) bool {
				return strings.EqualFold(strings.TrimSpace(m), model)
			})
			continue
		}
		rest, ok := strings.CutPrefix(line, "include:config")
		if !ok || !mine {
			continue
		}
		rest = strings.TrimSpace(rest)
		name, quoted := enclosed(rest, '"', '"')
		if !quoted {
			name, quoted = enclosed(rest, '<', '>')
		}
		if quoted && name != "" && !strings.ContainsFunc(name, unicode.IsControl) {
			names = append(names, name)
		}
	}
	return names
}

// enclosed returns what is between the first and the last byte, if these are the two.
func enclosed(s string, first, last byte) (string, bool) {
	if len(s) < 2 || s[0] != first || s[len(s)-1] != last {
		return "", false
	}
	return s[1 : len(s)-1], true
}
