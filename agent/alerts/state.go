package alerts

import (
	"encoding/json"
	"log/slog"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// state is what was sent to each target.
type state struct {
	Targets map[string]*targetState `json:"targets"`
}

type targetState struct {
	// Reported is the problems that the target knows to last.
	Reported []problem.Problem `json:"told,omitempty"`
	// Sent is when it took the last message.
	Sent time.Time `json:"sent,omitzero"`
	// Outbox is what may be on its way.
	Outbox *Message `json:"outbox,omitempty"`
}

func (s *state) target(name string) *targetState {
	t := s.Targets[name]
	if t == nil {
		t = &targetState{}
		s.Targets[name] = t
	}
	return t
}

// readState reads what was told. A file that cannot be read costs messages that are told again.
func readState(path string, log *slog.Logger) state {
	s := state{}
	if _, err := durable.ReadJSON(path, &s); err != nil {
		log.Warn("what was told of problems cannot be read, and is told again", "err", err)
		s = state{}
	}
	for name, t := range s.Targets {
		if t == nil {
			delete(s.Targets, name)
		}
	}
	if s.Targets == nil {
		s.Targets = make(map[string]*targetState)
	}
	return s
}

func (s *state) write(path string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}
