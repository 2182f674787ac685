package asterisk

import (
	"regexp"
	"strings"
)

// section is a category of one of Asterisk's files.
type section struct {
	name   string
	line   int // where it begins, from 1
	values map[string]string
}

var (
	sectionShape = regexp.MustCompile(`^\[([^]]+)\](?:\(([^)]*)\))?`)
	blockComment = regexp.MustCompile(`(?s);--(?:[^-].*?)?--;`)
)

// parse reads as much of a file of Asterisk's as we need to know: its sections with their values, those of templates
// included. Later values of a key win. What it does not understand it skips: Asterisk itself complains about that.
func parse(text string) []section {
	text = blockComment.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
	var out []section
	byName := make(map[string]section)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(stripComment(line))
		if m := sectionShape.FindStringSubmatch(line); m != nil {
			s := section{name: m[1], line: i + 1, values: make(map[string]string)}
			isTemplate := false
			for option := range strings.SplitSeq(m[2], ",") {
				option = strings.TrimSpace(option)
				isTemplate = isTemplate || option == "!"
				for k, v := range byName[option].values {
					s.values[k] = v
				}
			}
			byName[s.name] = s
			if !isTemplate {
				out = append(out, s)
			} else {
				out = append(out, section{values: s.values}) // its values go on into it, under no name
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if ok && len(out) > 0 && !strings.HasPrefix(line, "#") {
			out[len(out)-1].values[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(strings.TrimPrefix(value, ">"))
		}
	}
	return out
}

// stripComment removes what follows a semicolon, unless a backslash is before it.
func stripComment(line string) string {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && i+1 < len(line) && line[i+1] == ';':
			b.WriteByte(';')
			i++
		case line[i] == ';':
			return b.String()
		default:
			b.WriteByte(line[i])
		}
	}
	return b.String()
}

// escape keeps a value one value: a semicolon would begin a comment, a line break a line.
func escape(value string) string {
	value = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, value)
	return strings.ReplaceAll(value, ";", `\;`)
}

// plainName makes a person's name fit for a caller ID and a mailbox, where some signs are syntax.
func plainName(name string) string {
	return strings.TrimSpace(strings.NewReplacer(`"`, "'", `\`, "/", "<", "(", ">", ")", ",", " ", "|", " ", "=", "-", "[", "(", "]", ")").Replace(name))
}

// hasInclude reports whether a file includes ours.
func hasInclude(text, ours string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(stripComment(line))
		directive, name, ok := strings.Cut(line, " ")
		if ok && (directive == "#include" || directive == "#tryinclude") && strings.Trim(strings.TrimSpace(name), `"<>`) == ours {
			return true
		}
	}
	return false
}

// addInclude adds the line that includes our file: at the end, or right after the head of a section of which our
// file holds values. There the values of ours come first, and Asterisk takes the first. needs is a section that
// must be in the file before ours.
func addInclude(text, ours, within, needs string) string {
	include := `#tryinclude "` + ours + `"` + "\n"
	lines := strings.SplitAfter(text, "\n")
	if i := sectionLine(text, within); i >= 0 && i+1 < len(lines) {
		return strings.Join(lines[:i+1], "") + include + strings.Join(lines[i+1:], "")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if within == "" {
		if needs != "" && sectionLine(text, needs) < 0 {
			text += "[" + needs + "]\n"
		}
		return text + include
	}
	return text + "[" + within + "]\n" + include
}

// sectionLine finds the line of a section's head, from 0; -1: there is none.
func sectionLine(text, name string) int {
	for i, line := range strings.Split(text, "\n") {
		if m := sectionShape.FindStringSubmatch(strings.TrimSpace(line)); m != nil && m[1] == name {
			return i
		}
	}
	return -1
}
