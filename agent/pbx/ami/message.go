package ami

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of what is read: whatever speaks at the other end cannot fill the memory.
const (
	maxLine   = 64 << 10
	maxFields = 10_000
)

// Field is one line of a message.
type Field struct{ Key, Value string }

// Message is a response or an event: its lines in the order in which they came. Keys can come more than once, and
// their order and case differ between versions of Asterisk: use Get.
type Message []Field

// Get returns the value of a key in whatever case, or the empty string.
func (m Message) Get(key string) string {
	for _, f := range m {
		if strings.EqualFold(f.Key, key) {
			return f.Value
		}
	}
	return ""
}

// Event is the name of the event, or empty for a response.
func (m Message) Event() string { return m.Get("Event") }

// Action is an order or a question to Asterisk. The client adds the ActionID.
type Action struct {
	Name   string
	Fields []Field
}

// NewAction makes an action with fields given as key, value, key, value.
func NewAction(name string, fields ...string) Action {
	a := Action{Name: name}
	for i := 0; i+1 < len(fields); i += 2 {
		a.Fields = append(a.Fields, Field{fields[i], fields[i+1]})
	}
	return a
}

// errLineBreak keeps a value from becoming further lines, which would be orders of their own.
var errLineBreak = errors.New("has a line break or a NUL")

// encode writes an action as it goes over the wire.
func (a Action) encode(id string) ([]byte, error) {
	var b strings.Builder
	for _, f := range append([]Field{{"Action", a.Name}, {"ActionID", id}}, a.Fields...) {
		if strings.ContainsAny(f.Key+f.Value, "\r\n\x00") {
			return nil, fmt.Errorf("ami: %s: the value of %q %w", a.Name, f.Key, errLineBreak)
		}
		b.WriteString(f.Key + ": " + f.Value + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String()), nil
}

// decoder reads messages.
type decoder struct{ r *bufio.Reader }

func newDecoder(r io.Reader) decoder { return decoder{bufio.NewReaderSize(r, maxLine)} }

// greeting reads the line that Asterisk begins with.
func (d decoder) greeting() error {
	line, err := d.line()
	if err != nil {
		return fmt.Errorf("ami: no greeting from Asterisk: %w", err)
	}
	if !strings.HasPrefix(line, "Asterisk Call Manager/") {
		return fmt.Errorf("ami: this is no manager interface, it says %.60q", line)
	}
	return nil
}

// message reads up to the blank line that ends a message. Lines that have no key belong to no one and are skipped.
func (d decoder) message() (Message, error) {
	var m Message
	for {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		if line == "" {
			if len(m) > 0 {
				return m, nil
			}
			continue
		}
		if key, value, ok := strings.Cut(line, ":"); ok {
			m = append(m, Field{key, strings.TrimPrefix(value, " ")})
		}
		if len(m) > maxFields {
			return nil, fmt.Errorf("ami: a message has more than %d lines", maxFields)
		}
	}
}

func (d decoder) line() (string, error) {
	b, err := d.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("ami: a line is longer than %d bytes", maxLine)
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
