package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a minimal Debian has no time zones
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxSize bounds the operator's file, in bytes.
	maxSize = 1 << 20
	// maxAccepted bounds a configuration that an earlier version may have accepted.
	maxAccepted = 4 << 20
	// maxShown bounds the errors of a file, and its warnings, that are told.
	maxShown = 100
)

// Options are what the file is checked against besides itself. The zero value
// leaves those checks out.
type Options struct {
	// Now is compared with times in the file. Leave it zero for a configuration that
	// was accepted before: it must load again whatever the clock says at boot.
	Now time.Time
	// ModelKnown says whether a model of phone exists, and if not, the model that was
	// probably meant ("" when there is none).
	ModelKnown func(model string) (suggestion string, ok bool)
	// LanguageKnown says whether phones have menus in a language, a BCP 47 tag.
	LanguageKnown func(tag string) bool
	// ClockError says by how much phones' clocks are wrong at most when they change in a time zone.
	ClockError func(zone *time.Location, now time.Time) time.Duration
}

// Load reads the operator's file: parsed, defaulted, checked, also against the
// clock. A file with something wrong in it gives an error of type Errors.
func Load(path string) (*Config, error) {
	c, _, err := Options{Now: time.Now()}.Load(path)
	return c, err
}

// Parse reads a configuration from data, as Load does but without regard to the
// clock. The name is only for messages.
func Parse(name string, data []byte) (*Config, error) {
	c, _, err := Options{}.Parse(name, data)
	return c, err
}

// Load reads the file at path. The diagnostics are warnings, which may come with
// or without an error.
func (o Options) Load(path string) (*Config, []Diagnostic, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	return o.Parse(path, data)
}

// ReadFile reads the operator's file, or as much of it as makes it too large for Parse.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// IsFile reports whether a file has a text, which it does not read into memory for that.
func IsFile(path string, text []byte) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	part := make([]byte, 16<<10)
	for {
		n, err := f.Read(part)
		if !bytes.HasPrefix(text, part[:n]) {
			return false, nil
		}
		text = text[n:]
		if errors.Is(err, io.EOF) {
			return len(text) == 0, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// Parse is Load for data at hand.
func (o Options) Parse(name string, data []byte) (*Config, []Diagnostic, error) {
	c, v, _ := o.parse(name, data)
	warnings := shorten(v.warnings)
	if len(v.errors) > 0 {
		return nil, warnings, Errors(shorten(v.errors))
	}
	return c, warnings, nil
}

// ParseAccepted reads a configuration that an earlier version accepted. What this one
// would refuse in a new file is returned instead of an error: a machine must come up
// with what it ran before. Only what cannot be read is an error.
func (o Options) ParseAccepted(name string, data []byte) (c *Config, refused []Diagnostic, err error) {
	c, v, read := o.parse(name, data)
	if !read {
		return nil, nil, Errors(shorten(v.errors))
	}
	return c, shorten(v.errors), nil
}

// parse reads and checks. read reports whether every value could be read.
func (o Options) parse(name string, data []byte) (c *Config, v *checker, read bool) {
	c = Default()
	v = &checker{Config: c, opts: o, file: name, marks: make(map[string]mark), bad: make(map[string]bool)}
	if root := v.document(data); root != nil {
		d := &decoder{errs: v.report, marks: v.marks, bad: v.bad}
		d.decode(root, reflect.ValueOf(c).Elem(), "", false)
		read = len(v.errors) == 0
		c.fill()
		v.check()
	}
	return c, v, read
}

// Check says what is wrong with a configuration that was made, not read.
func (o Options) Check(c *Config) (warnings []Diagnostic, err error) {
	v := &checker{Config: c, opts: o}
	v.check()
	if len(v.errors) > 0 {
		return v.warnings, v.errors
	}
	return v.warnings, nil
}

// document parses the YAML and returns its root, or nil after reporting why not.
func (v *checker) document(data []byte) *yaml.Node {
	start := mark{1, 1}
	limit := maxAccepted
	if !v.opts.Now.IsZero() {
		limit = maxSize
	}
	if len(data) > limit {
		v.report(start, "", faultf("keep only the configuration in it", "the file is larger than %d MB", limit>>20))
		return nil
	}
	if at, ok := firstInvalid(data); ok {
		v.report(at, "", faultf("save the file as UTF-8", "the text is not UTF-8"))
		return nil
	}
	if at, ok := oddBreak(data); ok && !v.opts.Now.IsZero() {
		v.report(at, "", faultf("remove it, or end the line as the others end", "a line is ended by a character (such as a carriage return alone) that editors do not show as a line's end"))
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if err == nil && len(doc.Content) == 1 && doc.Content[0].Tag != "!!null" {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0]
		}
		if err == nil {
			v.report(mark{second.Line, 1}, "", faultf("keep one document and remove the line \"---\"", "the file holds more than one YAML document"))
			return nil
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		v.report(start, "", faultf("'sae-agent init' writes one from what the machine has", "the file is empty"))
		return nil
	}
	v.syntax(data, err)
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax reports what the YAML parser could not read.
func (v *checker) syntax(data []byte, err error) {
	at, problem := mark{1, 1}, err.Error()
	if m := yamlLine.FindStringSubmatch(problem); m != nil {
		problem = m[2]
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.line = line
		}
	}
	if line := brokenLine(data); line > 0 {
		at.line = line
	}
	if tab, ok := tabIn(data, at.line); ok {
		v.report(tab, "", faultf("indent with spaces", "a tab indents the line, which YAML does not allow"))
		return
	}
	if strings.HasPrefix(problem, "unknown anchor") { // which might be a password
		v.report(at, "", faultf("put a value that begins with * in quotes", "a YAML alias (*name) names nothing"))
		return
	}
	v.report(at, "", faultf("look at this line and the one before it: indentation, quotes, a missing colon", "not valid YAML: %s", problem))
}

func firstInvalid(data []byte) (mark, bool) {
	if utf8.Valid(data) {
		return mark{}, false
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return markOf(data, i), true
		}
		i += size
	}
	return mark{}, false
}

// markOf is the place of a byte.
func markOf(data []byte, at int) mark {
	head := string(data[:at])
	return mark{strings.Count(head, "\n") + 1, utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:]) + 1}
}

// oddBreak finds what ends a line for YAML and for nobody else: a carriage return
// without a line feed, and the line ends of Unicode. Lines after it would be told
// with other numbers than an editor shows.
func oddBreak(data []byte) (mark, bool) {
	for i, r := range string(data) {
		if r == '\r' && !bytes.HasPrefix(data[i:], []byte("\r\n")) || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return markOf(data, i), true
		}
	}
	return mark{}, false
}

// tabIn finds a tab within the indentation of one line.
func tabIn(data []byte, number int) (mark, bool) {
	lines := strings.Split(string(data), "\n")
	if number > len(lines) {
		return mark{}, false
	}
	line := lines[number-1]
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if at := strings.IndexByte(indent, '\t'); at >= 0 {
		return mark{number, at + 1}, true
	}
	return mark{}, false
}
