package phones

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// FileStore is a Store in one file, mode 0600.
type FileStore struct{ Path string }

// Load reads the file; one that does not exist is empty.
func (f FileStore) Load(context.Context) (Saved, error) {
	s := Saved{Approved: make(map[string]Approval), Done: make(map[string]time.Time)}
	if _, err := durable.ReadJSON(f.Path, &s); err != nil {
		return s, fmt.Errorf("phones: %s: %w: restore it from a backup, or move it away and approve the phones again", f.Path, err)
	}
	return s, nil
}

// Save writes the file.
func (f FileStore) Save(_ context.Context, s Saved) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(f.Path, append(data, '\n'), 0o600)
}
