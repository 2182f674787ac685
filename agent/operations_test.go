package agent

import (
	"log/slog"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
)

// Every operation that is declared is answered by somebody, once.
func TestEveryOperationHasAHandler(t *testing.T) {
	h := offlineHost{Offline: Offline{Paths: part.Paths{State: t.TempDir()}, Logger: slog.New(slog.DiscardHandler)}}
	a := &Agent{parts: newParts(h, nil)}
	count := make(map[string]int)
	for _, h := range a.handlers() {
		count[h.Operation.ID]++
	}
	for _, d := range control.Operations() {
		if id := d.Info().ID; count[id] != 1 {
			t.Errorf("%s has %d handlers, want 1", id, count[id])
		}
	}
}
