package dhcpdconf

import "strings"

// lexer splits a file into tokens.
type lexer struct {
	text string
	pos  int
	line int
}

// wordSigns are what a word may hold besides letters and digits. Of what dhcpd reads as a sequence of numbers with signs
// between, addresses and byte strings are one word.
const wordSigns = "_-.:/"

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 || strings.IndexByte(wordSigns, c) >= 0
}

// next returns the next token; false at the end.
func (l *lexer) next() (Token, bool) {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.line++
			l.pos++
		case c <= ' ' || c == 0x7f:
			l.pos++
		case c == '#':
			for l.pos < len(l.text) && l.text[l.pos] != '\n' {
				l.pos++
			}
		case c == '"':
			l.pos++
			return Token{Text: l.quoted(), Quoted: true}, true
		case isWord(c):
			start := l.pos
			for l.pos < len(l.text) && isWord(l.text[l.pos]) {
				l.pos++
			}
			return Token{Text: l.text[start:l.pos]}, true
		default:
			l.pos++
			return Token{Text: string(c)}, true
		}
	}
	return Token{}, false
}

// quoted reads the rest of a string, with dhcpd's escapes: \t \r \n \b, \xhh and \ooo. A backslash before anything else
// stands for that.
func (l *lexer) quoted() string {
	var b strings.Builder
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		l.pos++
		switch c {
		case '"':
			return b.String()
		case '\n':
			l.line++
		case '\\':
			if l.pos < len(l.text) {
				c = l.escape()
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (l *lexer) escape() byte {
	c := l.text[l.pos]
	l.pos++
	switch c {
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'n':
		return '\n'
	case 'b':
		return '\b'
	case '\n':
		l.line++
	case 'x':
		return l.number(16, 2)
	case '0', '1', '2', '3':
		l.pos--
		return l.number(8, 3)
	}
	return c
}

// number reads at most so many digits.
func (l *lexer) number(base, most int) byte {
	n := 0
	for range most {
		if l.pos >= len(l.text) {
			break
		}
		d := strings.IndexByte("0123456789abcdef", l.text[l.pos]|0x20)
		if l.text[l.pos] <= '9' {
			d = strings.IndexByte("0123456789", l.text[l.pos])
		}
		if d < 0 || d >= base {
			break
		}
		n = n*base + d
		l.pos++
	}
	return byte(n)
}
