package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxExcerpt bounds a line that is shown, in bytes: what is longer no person has written.
const maxExcerpt = 1000

// Excerpt shows the line of data that a diagnostic is about, with a caret under
// the place, as compilers do. Passwords in the line are masked.
func Excerpt(data []byte, d Diagnostic) string {
	lines := strings.Split(string(data), "\n")
	if d.Line < 1 || d.Line > len(lines) {
		return ""
	}
	line := strings.TrimSuffix(lines[d.Line-1], "\r")
	if strings.TrimSpace(line) == "" || !utf8.ValidString(line) || len(line) > maxExcerpt {
		return ""
	}
	runes := []rune(line)
	column := min(max(d.Column, 1), len(runes)+1)
	var pad strings.Builder
	for _, r := range runes[:column-1] {
		if r != '\t' {
			r = ' '
		}
		pad.WriteRune(r)
	}
	return fmt.Sprintf("%5d | %s\n      | %s^\n", d.Line, maskLine(line), pad.String())
}

var passwordInLine = regexp.MustCompile(`(?i)((?:\b|_)(?:secret|[\w.]*pas+word)["']?(?:\s*[:=]\s*|\s+))("(?:[^"\\]|\\.)*"?|'[^']*'?|[^,}\s][^,}]*)`)

// maskLine keeps the line's length, so that carets stay right.
func maskLine(line string) string {
	return passwordInLine.ReplaceAllStringFunc(line, func(m string) string {
		parts := passwordInLine.FindStringSubmatch(m)
		return parts[1] + strings.Repeat("*", utf8.RuneCountInString(parts[2]))
	})
}
