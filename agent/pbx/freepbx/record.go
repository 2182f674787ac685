package freepbx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// state is what the agent remembers of its own work. It is on disk before the work
// is done.
type state struct {
	// Created are the extensions that the agent made, and may remove.
	Created map[string]bool `json:"created,omitempty"`
	// Creating are those that it was about to make, with the digest of their secret:
	// one that exists with this secret was made by the agent.
	Creating map[string]string `json:"creating,omitempty"`
	// Carried are the columns of extensions that are being replaced: what FreePBX had
	// before, should the replacement be cut off half way.
	Carried map[string]Columns `json:"carried,omitempty"`
	// Reload says that Asterisk has not taken over yet what FreePBX has: a reload is due, or has failed.
	Reload bool `json:"reload,omitempty"`
	// Restart is since when Asterisk lacks a local network that FreePBX has: it reads them when it starts.
	Restart time.Time `json:"restart,omitzero"`
}

// loadState reads the record; none is an empty one.
func loadState(path string) (state, error) {
	s := state{Created: make(map[string]bool), Creating: make(map[string]string), Carried: make(map[string]Columns)}
	if _, err := durable.ReadJSON(path, &s); err != nil {
		return s, fmt.Errorf("freepbx: the record of what is ours cannot be read: %w: restore it from a backup, or move %s away, and no extension is removed any more", err, path)
	}
	return s, nil
}

func (s state) save(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("freepbx: note what is to be done: %w", err)
	}
	return nil
}

// settle compares the record with what there is. It reports whether it has changed.
func (s state) settle(found map[string]Found) (changed bool) {
	for number, sum := range s.Creating {
		f, exists := found[number]
		if exists && !f.whole() {
			continue // cut off half way: to be finished
		}
		if exists && digest(f.SIP["secret"]) == sum {
			s.Created[number] = true
		}
		delete(s.Creating, number)
		changed = true
	}
	for number := range s.Created {
		if _, exists := found[number]; !exists && s.Carried[number] == nil {
			delete(s.Created, number) // removed by an admin; if one of that number comes, it is the admin's
			changed = true
		}
	}
	return changed
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
