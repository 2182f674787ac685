package extensions

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// line is what is remembered of an extension: who was given the secret that it has.
type line struct {
	// Secret is a hash of the secret that all of this is about.
	Secret    string `json:"secret"`
	Generated bool   `json:"generated,omitempty"` // and not in the file
	// Phones are the MACs that were given it.
	Phones []string `json:"phones,omitempty"`
	// Softphone says that a link for one was made.
	Softphone bool `json:"softphone,omitempty"`
	// Left are those of Phones that are in the configuration no more, for as long as the secret is the same.
	Left []string `json:"left,omitempty"`
	// Shared are the phones that had it together with those.
	Shared []string `json:"shared,omitempty"`
}

// loadLines reads the record; none is an empty one.
func loadLines(path string) (map[string]line, error) {
	lines := make(map[string]line)
	if _, err := durable.ReadJSON(path, &lines); err != nil {
		return make(map[string]line), fmt.Errorf("read %s, begin without it: %w", path, err)
	}
	return lines, nil
}

func saveLines(path string, lines map[string]line) error {
	data, err := json.Marshal(lines)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}

// hash tells secrets apart without showing them.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Config is who has which extension, and its secret.
type Config struct {
	pending bool // it waits for its confirmation
	// watched says that the exchange is ours: a secret that changes here changes there.
	watched  bool
	lines    []configured
	phones   map[string]bool     // MACs of all phones
	phonesOf map[string][]string // MACs, by extension
}

// configured is an extension of the configuration.
type configured struct {
	number    string
	secret    string // its hash
	generated bool
}

// follow returns the record with what a configuration says of the phones. It forgets nothing of an extension that has the
// secret that it had. While a configuration waits for its confirmation, phones come and none goes.
func follow(lines map[string]line, c Config) map[string]line {
	out := maps.Clone(lines)
	for _, now := range c.lines {
		l, known := out[now.number]
		switch {
		case known && l.Secret != now.secret && c.pending:
			continue
		case l.Secret != now.secret: // whoever knew the former one knows nothing any more
			l = line{Secret: now.secret}
		}
		l.Generated = now.generated
		out[now.number] = l
	}
	for number, l := range out {
		now := c.phonesOf[number]
		if !c.pending {
			l = l.leave(c.phones, now)
		}
		out[number] = l.join(now)
	}
	return out
}

// leave notes which phones have left the configuration. One that has another extension has not.
func (l line) leave(all map[string]bool, now []string) line {
	before := l.Left
	l.Left = nil
	for _, mac := range l.Phones {
		if !all[mac] {
			l.Left = append(l.Left, mac)
		}
	}
	if len(l.Left) <= len(before) {
		return l
	}
	for _, mac := range now {
		if slices.Contains(l.Phones, mac) && !slices.Contains(l.Shared, mac) {
			l.Shared = append(slices.Clip(l.Shared), mac)
		}
	}
	return l
}

// join notes which phones have the extension now.
func (l line) join(now []string) line {
	for _, mac := range now {
		if !slices.Contains(l.Phones, mac) {
			l.Phones = append(slices.Clip(l.Phones), mac)
		}
	}
	return l
}
