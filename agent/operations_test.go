package agent

import (
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Each operation is answered by exactly one handler.
func TestEveryOperationHasAHandler(t *testing.T) {
	count := make(map[string]int)
	for _, h := range new(Agent).operations() {
		count[h.Operation.ID]++
	}
	for _, d := range control.Operations() {
		if id := d.Info().ID; count[id] != 1 {
			t.Errorf("%s has %d handlers", id, count[id])
		}
	}
}
