package config

import (
	"fmt"
	"io"
	"log/slog"
)

const mask = "******"

// Secret is a password. However it is printed, logged or marshalled, it shows as
// "******" (or nothing when empty); only Reveal gives it away. Inside an
// unexported field, fmt cannot see these methods: keep it in exported ones.
type Secret string

// Reveal returns the password itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString hides the password from %#v.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format hides the password from every verb of fmt, also wrong ones such as %d.
func (s Secret) Format(f fmt.State, verb rune) {
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
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the password from JSON, XML and YAML encoders. Config.Marshal
// is what writes it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
