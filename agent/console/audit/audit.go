// Package audit remembers who has changed what: the orders that people and programs
// gave, by whatever way.
package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/durable"
)

const (
	// kept is how many orders are kept.
	kept = 1000
	// maxFile is how large the file grows before what is not kept any more leaves it.
	maxFile = 4 << 20
	// maxLine bounds an order's text.
	maxLine = 64 << 10
)

// Log is the file of orders, a line of JSON each. Its methods may be called from any
// goroutine.
type Log struct {
	path string

	mu   sync.Mutex // guards the following
	list []control.Order
	size int64
}

// Open reads the file at path, which need not be there yet. A line that cannot be read,
// as after a power cut, is left out.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 2*maxLine)
	for lines.Scan() {
		var o control.Order
		if json.Unmarshal(lines.Bytes(), &o) == nil {
			l.list = append(l.list, o)
		}
	}
	l.size = int64(len(data))
	l.list = l.list[max(0, len(l.list)-kept):]
	return l, nil
}

// Add remembers an order.
func (l *Log) Add(o control.Order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if len(line) > maxLine {
		o.Changes = nil // the history has the whole difference
		if line, err = json.Marshal(o); err != nil || len(line) > maxLine {
			return fmt.Errorf("audit: an order is too long: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list = append(l.list, o); len(l.list) > kept {
		l.list = slices.Delete(l.list, 0, len(l.list)-kept)
	}
	if l.size > maxFile {
		return l.rewrite()
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	n, err := f.Write(append(line, '\n'))
	l.size += int64(n)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// rewrite leaves only what is kept in the file. The caller holds l.mu.
func (l *Log) rewrite() error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, o := range l.list {
		if err := enc.Encode(o); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if err := durable.WriteFile(l.path, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	l.size = int64(b.Len())
	return nil
}

// List returns the orders that are kept, newest first.
func (l *Log) List() []control.Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.list)
	slices.Reverse(out)
	if out == nil {
		out = []control.Order{}
	}
	return out
}
