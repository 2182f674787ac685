package stacks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/stacks/project"
)

// noted is what is remembered of all stacks.
type noted struct {
	Stopped  map[string]bool      `json:"stopped"`  // by the operator
	Images   project.Images       `json:"images"`   // that run, with their digests
	Previous project.Images       `json:"previous"` // that ran before, kept for a way back
	Applied  map[string]string    `json:"applied"`  // digest of the project that came up last
	Shown    map[string]time.Time `json:"shown"`    // when the passwords were shown
	Looked   map[string]time.Time `json:"looked"`   // when updates were last looked for
	History  []Record             `json:"history"`  // newest last
}

// add adds a record; one more try of the same way back takes the last one's place.
func (n *noted) add(r Record) {
	if i := len(n.History) - 1; i >= 0 {
		if last := n.History[i]; last.Outcome == Broken && last.Stack == r.Stack && last.Backup == r.Backup {
			n.History = n.History[:i]
		}
	}
	n.History = append(n.History, r)
}

// maxHistory bounds how many records are kept.
const maxHistory = 200

// store keeps noted in a file. Its methods may be called from any goroutine.
type store struct {
	path string

	mu sync.Mutex // guards the following
	n  noted
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{path: filepath.Join(dir, "stacks.json")}
	data, err := os.ReadFile(s.path)
	if err == nil {
		err = json.Unmarshal(data, &s.n)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: restore it from a backup, or move it away to begin with the images of this version", s.path, err)
	}
	s.n = s.n.copy()
	return s, nil
}

// copy is a deep copy whose maps can be written to.
func (n noted) copy() noted {
	c := noted{
		Stopped: maps.Clone(n.Stopped), Images: copyImages(n.Images), Previous: copyImages(n.Previous), Applied: maps.Clone(n.Applied),
		Shown: maps.Clone(n.Shown), Looked: maps.Clone(n.Looked), History: append([]Record(nil), n.History...),
	}
	if c.Stopped == nil {
		c.Stopped = make(map[string]bool)
	}
	if c.Applied == nil {
		c.Applied = make(map[string]string)
	}
	if c.Shown == nil {
		c.Shown = make(map[string]time.Time)
	}
	if c.Looked == nil {
		c.Looked = make(map[string]time.Time)
	}
	return c
}

func copyImages(m project.Images) project.Images {
	c := make(project.Images, len(m))
	for k, v := range m {
		c[k] = maps.Clone(v)
	}
	return c
}

func (s *store) get() noted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n.copy()
}

// change is on disk when it returns; after an error nothing is changed.
func (s *store) change(f func(*noted)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n.copy()
	f(&n)
	if over := len(n.History) - maxHistory; over > 0 {
		n.History = n.History[over:]
	}
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("stacks: %w", err)
	}
	if err := durable.WriteFile(s.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("stacks: note the state: %w", err)
	}
	s.n = n
	return nil
}
