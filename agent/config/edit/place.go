package edit

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// offset is where a node begins in the text. The parser counts lines and characters.
func (f *File) offset(n *yaml.Node) int {
	at := 0
	for range n.Line - 1 {
		next := bytes.IndexByte(f.data[at:], '\n')
		if next < 0 {
			return len(f.data)
		}
		at += next + 1
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(f.data[at:])
		at += size
	}
	return min(at, len(f.data))
}

// extent is where a value begins and ends.
func (f *File) extent(n *yaml.Node) (start, end int, err error) {
	if n.Anchor != "" || n.Alias != nil || n.Style&yaml.TaggedStyle != 0 {
		return 0, 0, errForm("a value with an anchor, an alias or a tag")
	}
	start = f.offset(n)
	if n.Kind != yaml.ScalarNode {
		if !isFlow(n) || start >= len(f.data) || !strings.ContainsRune("[{", rune(f.data[start])) {
			return 0, 0, errForm("a value")
		}
		end, ok := f.closing(start)
		if !ok {
			return 0, 0, errForm("a value")
		}
		return start, end, nil
	}
	if start < len(f.data) && (f.data[start] == '"' || f.data[start] == '\'') {
		end, ok := f.quoteEnd(start)
		if !ok {
			return 0, 0, errForm("a value")
		}
		return start, end, nil
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || !bytes.HasPrefix(f.data[start:], []byte(n.Value)) { // of several lines
		return 0, 0, errForm("a value of several lines")
	}
	return start, start + len(n.Value), nil
}

// quoteEnd returns the end of a value in quotes.
func (f *File) quoteEnd(start int) (end int, ok bool) {
	quote := f.data[start]
	for i := start + 1; i < len(f.data); i++ {
		switch {
		case quote == '"' && f.data[i] == '\\':
			i++
		case f.data[i] == quote && quote == '\'' && i+1 < len(f.data) && f.data[i+1] == quote:
			i++
		case f.data[i] == quote:
			return i + 1, true
		}
	}
	return 0, false
}

// closing returns what is behind the bracket that closes the one at start.
func (f *File) closing(start int) (end int, ok bool) {
	depth := 0
	for i := start; i < len(f.data); i++ {
		switch c := f.data[i]; {
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return i + 1, true
			}
		case c == '#' && isBlank(f.data[i-1]):
			for i+1 < len(f.data) && f.data[i+1] != '\n' {
				i++
			}
		case (c == '"' || c == '\'') && (isBlank(f.data[i-1]) || strings.ContainsRune("[{,:", rune(f.data[i-1]))):
			end, ok := f.quoteEnd(i)
			if !ok {
				return 0, false
			}
			i = end - 1
		}
	}
	return 0, false
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// skipBlank returns the next place that is neither blank nor comment.
func (f *File) skipBlank(at int) int {
	for at < len(f.data) {
		switch {
		case isBlank(f.data[at]):
			at++
		case f.data[at] == '#':
			for at < len(f.data) && f.data[at] != '\n' {
				at++
			}
		default:
			return at
		}
	}
	return at
}

// lineEnd is the begin of the line after the last one of a value.
func (f *File) lineEnd(n *yaml.Node) (int, error) {
	end, err := f.valueEnd(n)
	if err != nil {
		return 0, err
	}
	if next := bytes.IndexByte(f.data[end:], '\n'); next >= 0 {
		return end + next + 1, nil
	}
	return len(f.data), nil
}

// valueEnd is where a value ends, which may be a block of values.
func (f *File) valueEnd(n *yaml.Node) (int, error) {
	if n.Kind != yaml.ScalarNode && !isFlow(n) && len(n.Content) > 0 {
		return f.valueEnd(n.Content[len(n.Content)-1])
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "" {
		return f.offset(n), nil
	}
	_, end, err := f.extent(n)
	return end, err
}

// afterKey is the place behind a key's colon.
func (f *File) afterKey(key *yaml.Node) (int, error) {
	_, end, err := f.extent(key)
	if err != nil {
		return 0, err
	}
	for end < len(f.data) && f.data[end] == ' ' {
		end++
	}
	if end >= len(f.data) || f.data[end] != ':' {
		return 0, errForm(key.Value)
	}
	return end + 1, nil
}

// eol is how the file ends its lines.
func (f *File) eol() string {
	if bytes.Contains(f.data, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// lineBreakAtEnd is what the last line lacks.
func (f *File) lineBreakAtEnd() string {
	if len(f.data) == 0 || f.data[len(f.data)-1] == '\n' {
		return ""
	}
	return f.eol()
}

func lineOf(data []byte, at int) int { return bytes.Count(data[:at], []byte("\n")) }
