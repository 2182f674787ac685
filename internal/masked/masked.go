// Package masked keeps passwords out of everything that is printed.
package masked

import (
	"fmt"
	"io"
	"log/slog"
)

// Mask stands for a password that is set.
const Mask = "******"

// String is a password. However it is printed, logged or marshalled, it shows as
// "******" (or nothing when empty); only Reveal gives it away. Inside an
// unexported field, fmt cannot see these methods: keep it in exported ones.
type String string

// Reveal returns the password itself.
func (s String) Reveal() string { return string(s) }

func (s String) String() string {
	if s == "" {
		return ""
	}
	return Mask
}

// GoString hides the password from %#v.
func (s String) GoString() string { return fmt.Sprintf("masked.String(%q)", s.String()) }

// Format hides the password from every verb of fmt, also wrong ones such as %d.
func (s String) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", s.String())
	case verb == 'v' && f.Flag('#'):
		_, _ = io.WriteString(f, s.GoString())
	default:
		_, _ = io.WriteString(f, s.String())
	}
}

// LogValue hides the password from log/slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the password from JSON, XML and YAML encoders. Whoever has to write it
// reveals it.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
