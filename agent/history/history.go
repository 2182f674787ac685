// Package history keeps the configurations that were applied, newest last, as
// plain files: so the daemon starts with what it ran before, and a person (or a
// command, without the daemon) can go back to an earlier one. The newest may be on
// probation: it is kept only if somebody confirms it (see Pending).
//
// It stores bytes and knows nothing of what they mean.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// Keep is the number of configurations kept.
const Keep = 10

const stamp = "20060102T150405Z"

var (
	// ErrEmpty says that nothing was ever applied.
	ErrEmpty = errors.New("no configuration was applied yet")
	// ErrNotKept says that an entry is not there, or not any more.
	ErrNotKept = errors.New("no configuration is kept")
)

// Entry is one applied configuration.
type Entry struct {
	Seq       int // rises by one with each apply; that of one that was not confirmed is used again
	AppliedAt time.Time
	path      string
}

// History is a directory of applied configurations. It may hold secrets: the
// directory is 0700, its files 0600.
type History struct {
	dir    string
	runDir string
}

// Open returns the history in dir, which is made when absent. What must not
// outlive this boot of the machine is noted in runDir, such as /run/sae-agent.
func Open(dir, runDir string) (*History, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &History{dir: dir, runDir: runDir}, nil
}

// Hash identifies a configuration: SHA-256, hexadecimal.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// List returns the entries, oldest first. Files that are not ours are ignored.
func (h *History) List() ([]Entry, error) {
	names, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var out []Entry
	for _, n := range names {
		if e, ok := parseName(n.Name()); ok {
			e.path = filepath.Join(h.dir, n.Name())
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Seq < out[j].Seq })
	return out, nil
}

// Current returns the newest entry and its content, or ErrEmpty.
func (h *History) Current() (Entry, []byte, error) {
	all, err := h.List()
	if err != nil {
		return Entry{}, nil, err
	}
	if len(all) == 0 {
		return Entry{}, nil, ErrEmpty
	}
	e := all[len(all)-1]
	data, err := h.Read(e)
	return e, data, err
}

// Find returns the entry with a number.
func (h *History) Find(seq int) (Entry, error) {
	all, err := h.List()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range all {
		if e.Seq == seq {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%w with the number %d", ErrNotKept, seq)
}

// Read returns an entry's content.
func (h *History) Read(e Entry) ([]byte, error) {
	data, err := os.ReadFile(e.path)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return data, nil
}

// Add records a configuration as the newest. It is on disk when Add returns;
// after an error the history is as it was.
func (h *History) Add(data []byte, at time.Time) (Entry, error) {
	all, err := h.List()
	if err != nil {
		return Entry{}, err
	}
	e := h.next(all, at)
	if err := durable.WriteFile(e.path, data, 0o600); err != nil {
		return Entry{}, fmt.Errorf("history: record the configuration: %w", err)
	}
	for len(all) >= Keep {
		// An old file too many does no harm; the next Add tries again.
		_ = os.Remove(all[0].path)
		all = all[1:]
	}
	return e, nil
}

// next names the entry after all.
func (h *History) next(all []Entry, at time.Time) Entry {
	e := Entry{Seq: 1, AppliedAt: at.UTC().Truncate(time.Second)}
	if len(all) > 0 {
		e.Seq = all[len(all)-1].Seq + 1
	}
	e.path = filepath.Join(h.dir, fmt.Sprintf("%06d-%s.yaml", e.Seq, e.AppliedAt.Format(stamp)))
	return e
}

// parseName reads 000007-20260102T030405Z.yaml.
func parseName(name string) (Entry, bool) {
	base, ok := strings.CutSuffix(name, ".yaml")
	if !ok {
		return Entry{}, false
	}
	num, when, ok := strings.Cut(base, "-")
	if !ok {
		return Entry{}, false
	}
	seq, err := strconv.Atoi(num)
	if err != nil || seq < 1 {
		return Entry{}, false
	}
	at, err := time.Parse(stamp, when)
	if err != nil {
		return Entry{}, false
	}
	return Entry{Seq: seq, AppliedAt: at}, true
}
