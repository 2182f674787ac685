package pbx

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// record is what the service remembers of its exchange from one start to the next.
type record struct {
	// Secrets are those that the exchange was last seen to take, by extension.
	Secrets map[string]string `json:"secrets,omitempty"`
	// Expel are the extensions whose secret has changed and whose registrations with the former one were not ended yet.
	Expel []string `json:"expel,omitempty"`
	// Registered says that a device has registered once: people telephone with this exchange.
	Registered bool `json:"registered,omitempty"`
	// Paused is until when the exchange is left alone.
	Paused time.Time `json:"paused,omitzero"`
	// Stopped is when somebody stopped the exchange in order; zero: it runs, or has died.
	Stopped time.Time `json:"stopped,omitzero"`
}

// loadRecord reads the record; none is an empty one.
func loadRecord(path string) (r record, err error) {
	if path == "" {
		return r, nil
	}
	if _, err := durable.ReadJSON(path, &r); err != nil {
		return record{}, fmt.Errorf("pbx: read %s, begin without it: %w", path, err)
	}
	return r, nil
}

// remember changes the record, on disk too.
func (s *Service) remember(change func(*record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.record)
	data, _ := json.Marshal(s.record) // strings, booleans and times
	if s.deps.Record == "" || string(data) == s.saved {
		return
	}
	if err := durable.WriteFile(s.deps.Record, data, 0o600); err != nil {
		s.log.Error("cannot note the state of the exchange", "err", err)
		return
	}
	s.saved = string(data)
}

// secretsOf are the secrets of a state of the exchange, by extension.
func secretsOf(d *Desired) map[string]string {
	out := make(map[string]string)
	if d != nil {
		for _, e := range d.Extensions {
			out[e.Number] = e.Secret.Reveal()
		}
	}
	return out
}

// RecordedSecrets are those that an exchange was last seen to take, by extension, as a service with this record has noted
// them; nil: not known.
func RecordedSecrets(path string) map[string]string {
	r, err := loadRecord(path)
	if err != nil {
		return nil // the service says so
	}
	return r.Secrets
}
