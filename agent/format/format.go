// Package format marks the state folder with the format of what is in it, so that a program never misreads what a later
// one has written. Whoever changes a file there so that an earlier program would misread it raises Current.
package format

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// Current is the format that this program writes. It reads this one and all before it.
const Current = 1

// file is the mark's name in the state folder. A folder without it is of the first format.
const file = "format.json"

type mark struct {
	Format  int    `json:"format"`
	Version string `json:"version"` // of the program that was the first to write it
}

// LaterError says that a later program has written the state.
type LaterError struct {
	Dir, Version string
}

// Error says how to go on.
func (e *LaterError) Error() string {
	return fmt.Sprintf("the state in %s was written by version %s, which this one cannot read: install that version again, or go back with 'sae-agent backup restore' to a backup that this one has made", e.Dir, e.Version)
}

// Check returns a LaterError where a later program has written the state. It writes nothing.
func Check(dir string) error {
	_, err := read(dir)
	return err
}

// Mark checks, and marks a state of an earlier format as one of ours.
func Mark(dir, version string) error {
	m, err := read(dir)
	if err != nil || m.Format == Current {
		return err
	}
	data, err := json.Marshal(mark{Current, version})
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, file), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("mark the state's format: %w", err)
	}
	return nil
}

func read(dir string) (m mark, err error) {
	if _, err := durable.ReadJSON(filepath.Join(dir, file), &m); err != nil {
		return m, fmt.Errorf("read the state's format: %w", err)
	}
	if m.Format > Current {
		return m, &LaterError{dir, m.Version}
	}
	return m, nil
}
