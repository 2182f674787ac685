// Package secrets makes the passwords that the operator left out of the file,
// once, and keeps them: a password that changed by itself would lock phones out.
//
// It knows names and passwords, not what they open.
package secrets

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// Store is a file of generated passwords, mode 0600. Its methods may be called
// from any goroutine.
type Store struct {
	path string

	mu     sync.Mutex // guards the following
	values map[string]string
}

// Open reads the store at path; a file that does not exist is an empty store. A
// file that cannot be read is an error and is left alone: making new passwords
// in its place would lock every phone out.
func Open(path string) (*Store, error) {
	s := &Store{path: path, values: make(map[string]string)}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	if err := json.Unmarshal(data, &s.values); err != nil {
		return nil, fmt.Errorf("secrets: %s is damaged (%w): restore it from a backup, or move it away to have new passwords made", path, err)
	}
	return s, nil
}

// Ensure returns the password of each name, made now for those that have none.
// New ones are on disk when Ensure returns; after an error nothing is changed.
func (s *Store) Ensure(names ...string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string, len(names))
	made := make(map[string]string)
	for _, n := range names {
		v, ok := s.values[n]
		if !ok {
			v = rand.Text() // 130 random bits in letters and digits that every phone accepts
			made[n] = v
		}
		out[n] = v
	}
	if len(made) == 0 {
		return out, nil
	}
	if err := s.save(made); err != nil {
		return nil, fmt.Errorf("secrets: keep new passwords: %w", err)
	}
	return out, nil
}

// Renew makes new passwords for all names, or for none: after an error nothing is
// changed. They are on disk when Renew returns.
func (s *Store) Renew(names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := make(map[string]string, len(names))
	for _, n := range names {
		made[n] = rand.Text()
	}
	if err := s.save(made); err != nil {
		return fmt.Errorf("secrets: keep new passwords: %w", err)
	}
	return nil
}

// Lookup returns the passwords that were made already; it makes none.
func (s *Store) Lookup(names ...string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string, len(names))
	for _, n := range names {
		if v, ok := s.values[n]; ok {
			out[n] = v
		}
	}
	return out
}

// save writes the old values and the new ones, then takes the new ones over.
func (s *Store) save(made map[string]string) error {
	all := make(map[string]string, len(s.values)+len(made))
	for n, v := range s.values {
		all[n] = v
	}
	for n, v := range made {
		all[n] = v
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.path, append(data, '\n'), 0o600); err != nil {
		return err
	}
	s.values = all
	return nil
}
