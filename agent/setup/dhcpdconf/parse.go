// Package dhcpdconf reads the files of isc-dhcp-server, dhcpd.conf(5), into statements. It knows the form of the language,
// not what a statement means: every file that dhcpd accepts is read.
package dhcpdconf

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Token is a word, a string or a sign.
type Token struct {
	Text   string // of a string: what its escapes stand for
	Quoted bool
}

// Statement is words up to a semicolon, or words and a block.
type Statement struct {
	File   string
	Line   int
	Words  []Token
	Block  []Statement
	Nested bool // it has a block, perhaps an empty one
}

// Word returns the n-th word in lower case, as dhcpd compares keywords; empty for a string, and when there is none.
func (s Statement) Word(n int) string {
	if n >= len(s.Words) || s.Words[n].Quoted {
		return ""
	}
	return strings.ToLower(s.Words[n].Text)
}

// Text returns the n-th word or string as it is written; empty when there is none.
func (s Statement) Text(n int) string {
	if n >= len(s.Words) {
		return ""
	}
	return s.Words[n].Text
}

// String is the statement's words, for people.
func (s Statement) String() string {
	words := make([]string, len(s.Words))
	for i, w := range s.Words {
		words[i] = w.Text
		if w.Quoted {
			words[i] = fmt.Sprintf("%q", w.Text)
		}
	}
	return strings.Join(words, " ")
}

const (
	// maxNesting bounds blocks in blocks, and files in files.
	maxNesting = 50
	// maxStatements bounds what all files together may hold.
	maxStatements = 200000
)

// Parse reads a file and those that it includes. A name without a leading slash is looked for beside the file that was
// named first.
func Parse(name string, read func(name string) ([]byte, error)) ([]Statement, error) {
	r := &reader{read: read, dir: filepath.Dir(name)}
	return r.file(name, 0)
}

type reader struct {
	read  func(name string) ([]byte, error)
	dir   string
	count int
}

func (r *reader) file(name string, depth int) ([]Statement, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("%s: too many files include each other", name)
	}
	data, err := r.read(name)
	if err != nil {
		return nil, err
	}
	p := &parser{reader: r, lexer: lexer{text: string(data), line: 1}, name: name, depth: depth}
	list, err := p.statements(0)
	if err == nil && p.closed {
		err = fmt.Errorf("line %d: a } without a {", p.line)
	}
	if err != nil && !strings.HasPrefix(err.Error(), name+":") {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return list, err
}

type parser struct {
	lexer
	*reader
	name   string
	depth  int
	closed bool // the last list of statements ended at a }
}

// statements reads up to the end of the block, or of the file.
func (p *parser) statements(nesting int) ([]Statement, error) {
	if nesting > maxNesting {
		return nil, fmt.Errorf("line %d: too many blocks in blocks", p.line)
	}
	var out []Statement
	now := Statement{File: p.name}
	for {
		t, ok := p.next()
		sign := ""
		if ok && !t.Quoted {
			sign = t.Text
		}
		switch {
		case !ok || sign == "}":
			p.closed = ok
			if len(now.Words) > 0 {
				return nil, fmt.Errorf("line %d: a semicolon is missing after %q", now.Line, now.String())
			}
			if !ok && nesting > 0 {
				return nil, fmt.Errorf("line %d: a } is missing", p.line)
			}
			return out, nil
		case sign == "{" && isRecord(now):
			p.record(&now)
			continue
		case sign == "{":
			block, err := p.statements(nesting + 1)
			if err != nil {
				return nil, err
			}
			now.Block, now.Nested = block, true
		case sign == ";" && now.Word(0) == "include" && len(now.Words) == 2:
			included, err := p.include(now)
			if err != nil {
				return nil, err
			}
			out, now = append(out, included...), Statement{File: p.name}
			continue
		case sign == ";":
		default:
			if len(now.Words) == 0 {
				now.Line = p.line
			}
			now.Words = append(now.Words, t)
			continue
		}
		if len(now.Words) > 0 || now.Nested {
			if p.count++; p.count > maxStatements {
				return nil, fmt.Errorf("line %d: more than %d statements", p.line, maxStatements)
			}
			out = append(out, now)
		}
		now = Statement{File: p.name}
	}
}

// isRecord tells the braces of an option's definition, = { … } and array of { … }, from those of a block.
func isRecord(s Statement) bool {
	n := len(s.Words)
	return n > 0 && s.Word(0) == "option" && (s.Word(n-1) == "=" || s.Word(n-1) == "of" && s.Word(n-2) == "array")
}

// record reads the types of an option's definition.
func (p *parser) record(s *Statement) {
	s.Words = append(s.Words, Token{Text: "{"})
	for {
		t, ok := p.next()
		if !ok {
			return // the semicolon is missing too
		}
		s.Words = append(s.Words, t)
		if !t.Quoted && t.Text == "}" {
			return
		}
	}
}

func (p *parser) include(s Statement) ([]Statement, error) {
	name := s.Words[1].Text
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.dir, name)
	}
	list, err := p.file(name, p.depth+1)
	if err != nil {
		return nil, fmt.Errorf("line %d: include: %w", s.Line, err)
	}
	return list, nil
}

// ReadFS returns a Parse's read func for a tree of files.
func ReadFS(fsys fs.FS) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		return fs.ReadFile(fsys, strings.TrimPrefix(filepath.Clean(name), "/"))
	}
}
