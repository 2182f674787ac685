package stacks

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// images are the images of each stack's services.
type images map[string]map[string]kind.Image

// line is how the releases that a service follows go on.
type line struct {
	Newest string    `json:"newest"` // tag
	Seen   time.Time `json:"seen"`   // when that was first seen
	Gone   bool      `json:"gone"`   // the tag that runs is in the registry no more
	Major  string    `json:"major"`  // tag of the next major version, if there is one
}

// noted is what is remembered of all stacks.
type noted struct {
	Stopped  map[string]bool      `json:"stopped"`  // by the operator
	Images   images               `json:"images"`   // that run, with their digests
	Previous images               `json:"previous"` // that ran before, kept for a way back
	Applied  map[string]string    `json:"applied"`  // digest of the project that came up last
	Shown    map[string]time.Time `json:"shown"`    // when the passwords were shown
	Checked  map[string]time.Time `json:"looked"`   // when updates were last looked for
	// Lines are the releases that are followed, by stack and service.
	Lines   map[string]map[string]line `json:"lines,omitempty"`
	Dumps   map[string]dumpSize        `json:"dumps,omitempty"`
	History []Record                   `json:"history"` // newest last
}

// add adds a record; what was said before of the same update is taken back.
func (n *noted) add(r Record) {
	n.History = slices.DeleteFunc(n.History, func(o Record) bool { return o.ID == r.ID && o.Stack == r.Stack })
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
	if _, err := durable.ReadJSON(s.path, &s.n); err != nil {
		return nil, fmt.Errorf("%s: %w: restore it from a backup, or move it away to begin with the images of this version", s.path, err)
	}
	s.n = s.n.copy()
	return s, nil
}

// copy is a deep copy whose maps can be written to.
func (n noted) copy() noted {
	c := noted{
		Stopped: maps.Clone(n.Stopped), Images: copyImages(n.Images), Previous: copyImages(n.Previous), Applied: maps.Clone(n.Applied),
		Shown: maps.Clone(n.Shown), Checked: maps.Clone(n.Checked), History: slices.Clone(n.History),
		Dumps: maps.Clone(n.Dumps), Lines: make(map[string]map[string]line),
	}
	for stack, lines := range n.Lines {
		c.Lines[stack] = maps.Clone(lines)
	}
	if c.Dumps == nil {
		c.Dumps = make(map[string]dumpSize)
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
	if c.Checked == nil {
		c.Checked = make(map[string]time.Time)
	}
	return c
}

func copyImages(m images) images {
	c := make(images, len(m))
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
