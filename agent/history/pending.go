package history

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

const pendingName = "pending.json"

// Pending says that the newest configuration is on probation. Undone ones leave no
// entry behind.
type Pending struct {
	Seq      int       `json:"seq"`
	Deadline time.Time `json:"deadline"` // when it will be undone
	// Boot tells boots apart: what was not confirmed in one does not run in the next.
	Boot string `json:"boot"`
}

// markName is a file in the runtime directory, which a reboot empties. The kernel's
// boot_id will not do: a container's differs from unit to unit.
const markName = "boot"

// mark returns what tells this boot from others, and makes it if told to; empty
// when there is none.
func (h *History) mark(create bool) (string, error) {
	path := filepath.Join(h.runDir, markName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && create {
		data = []byte(rand.Text())
		err = durable.WriteFile(path, data, 0o644)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("history: tell boots apart: %w", err)
	}
	return string(data), nil
}

// AddPending records a configuration as the newest, on probation. A crash at any
// moment leaves either the old state or the new one.
func (h *History) AddPending(data []byte, at, deadline time.Time) (Entry, error) {
	all, err := h.List()
	if err != nil {
		return Entry{}, err
	}
	boot, err := h.mark(true)
	if err != nil {
		return Entry{}, err
	}
	p, err := json.Marshal(Pending{Seq: h.next(all, at).Seq, Deadline: deadline.UTC(), Boot: boot})
	if err != nil {
		return Entry{}, err
	}
	// First this: without its entry it says nothing, while the entry without it
	// would count as confirmed.
	if err := durable.WriteFile(h.pendingPath(), p, 0o600); err != nil {
		return Entry{}, fmt.Errorf("history: record the probation: %w", err)
	}
	e, err := h.Add(data, at)
	if err != nil {
		return Entry{}, errors.Join(err, h.Confirm())
	}
	return e, nil
}

// Pending returns the probation, or nil when the newest configuration is for good.
func (h *History) Pending() (*Pending, error) {
	data, err := os.ReadFile(h.pendingPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var p Pending
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("history: %s is damaged, remove it to keep the newest configuration: %w", h.pendingPath(), err)
	}
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || all[len(all)-1].Seq != p.Seq {
		return nil, nil // a crash came before the entry, or after it was undone
	}
	return &p, nil
}

// Confirm keeps the newest configuration for good.
func (h *History) Confirm() error {
	if err := os.Remove(h.pendingPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("history: %w", err)
	}
	return durable.SyncDir(h.dir)
}

// Undo removes the configuration on probation, if there is one, so that the one
// before is the newest again. It reports whether there was one.
func (h *History) Undo() (bool, error) {
	p, err := h.Pending()
	if err != nil || p == nil {
		return false, err
	}
	e, err := h.Find(p.Seq)
	if err != nil {
		return false, err
	}
	if err := os.Remove(e.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("history: undo: %w", err)
	}
	if err := durable.SyncDir(h.dir); err != nil {
		return false, fmt.Errorf("history: undo: %w", err)
	}
	return true, h.Confirm()
}

// UndoOverdue undoes what nobody confirmed in time, or before the machine was
// restarted.
func (h *History) UndoOverdue(now time.Time) (bool, error) {
	p, err := h.Pending()
	if err != nil || p == nil {
		return false, err
	}
	boot, err := h.mark(false)
	if err != nil || (boot == p.Boot && now.Before(p.Deadline)) {
		return false, err
	}
	return h.Undo()
}

func (h *History) pendingPath() string { return filepath.Join(h.dir, pendingName) }
