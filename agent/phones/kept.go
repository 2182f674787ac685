package phones

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	// keepEvery is how often what was seen is written, if there is something new.
	keepEvery = time.Minute
	// storeEvery is how often it is stored at most that phones have registered for the first time: after a first start
	// all of them do at once, and whoever asks for a file meanwhile waits for the disk.
	storeEvery = time.Second
)

// kept is what is remembered of a phone over a restart.
type kept struct {
	Addr       netip.Addr `json:"address,omitzero"`
	Model      string     `json:"model,omitempty"`
	Firmware   string     `json:"firmware,omitempty"`
	First      time.Time  `json:"first_seen,omitzero"`
	Last       time.Time  `json:"last_seen,omitzero"`
	LastFetch  time.Time  `json:"last_fetch,omitzero"`
	LastFile   string     `json:"last_file,omitempty"`
	Served     string     `json:"served,omitempty"` // SHA-256 of it, hexadecimal
	Registered time.Time  `json:"registered,omitzero"`
}

// Keep stores which phones have registered, soon after they have. It writes what was seen of the phones into a file, now
// and then and when ctx ends: a later service reads it by Remember. That is a memory for people, so that a file that
// cannot be written is said and no failure.
func (s *Service) Keep(ctx context.Context, path string) {
	for going := true; going; {
		s.storeRegistered(ctx)
		going = ctx.Err() == nil
		data, err := s.encodeSeen()
		if err == nil && data != nil {
			err = durable.WriteFile(path, data, 0o600)
		}
		if err != nil {
			s.mu.Lock()
			s.news = true // tried again
			s.mu.Unlock()
			s.log.Warn("what was seen of the phones is not kept", "err", err)
		}
	}
}

// storeRegistered stores which phones have registered, for a while or until ctx ends.
func (s *Service) storeRegistered(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepEvery)
	defer cancel()
	for going := true; going; {
		select {
		case <-ctx.Done():
			going = false
		case <-s.registered.C():
			going = pause.For(ctx, storeEvery)
		}
		s.mu.Lock()
		var err error
		if s.unsaved {
			err = s.save(context.WithoutCancel(ctx), func(*Saved) {})
		}
		s.mu.Unlock()
		if err != nil {
			s.log.Error("cannot note that phones have registered", "err", err)
			s.registered.Notify() // tried again
		}
	}
}

// encodeSeen writes what was seen; nil when there is nothing new since the last time.
func (s *Service) encodeSeen() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.news {
		return nil, nil
	}
	s.news = false
	all := make(map[string]kept, len(s.seen.byKey))
	for k, p := range s.seen.byKey {
		e := kept{p.addr, p.model, p.firmware, p.first, p.last, p.lastFetch, p.lastFile, "", p.registered}
		if !p.lastFetch.IsZero() {
			e.Served = hex.EncodeToString(p.served[:])
		}
		all[k] = e
	}
	return json.Marshal(all)
}

// Remember reads what an earlier service has kept. Without the file, or with a damaged one, nothing was seen.
func (s *Service) Remember(path string) {
	var all map[string]kept
	if _, err := durable.ReadJSON(path, &all); err != nil {
		s.log.Warn("what was seen of the phones before is not known", "err", fmt.Errorf("%s: %w", path, err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range all {
		mac, err := parseKey(k)
		if err != nil || s.seen.get(mac) != nil {
			continue
		}
		p := s.seen.add(mac)
		p.addr, p.model, p.firmware, p.first, p.last = e.Addr, e.Model, e.Firmware, e.First, e.Last
		p.lastFetch, p.lastFile, p.registered = e.LastFetch, e.LastFile, e.Registered
		hash, err := hex.DecodeString(e.Served)
		if err != nil || len(hash) != len(p.served) {
			continue
		}
		p.served = [sha256.Size]byte(hash)
		p.unsure = true
	}
	s.seen.reclassify() // the longest silent go first
}

// hasItsFile reports whether what a phone has fetched last is what it would get. The caller holds s.mu.
func (s *Service) hasItsFile(p *seen, phone Phone) bool {
	if p.unsure { // it fetched that from an earlier service, or before it was named
		p.unsure = false
		p.stale = p.served != s.hash(phone, true) && p.served != s.hash(phone, false)
	}
	return !p.lastFetch.IsZero() && !p.stale
}

// hash is that of a phone's file as of the last Apply, with its secret or without.
func (s *Service) hash(phone Phone, armed bool) [sha256.Size]byte {
	return sha256.Sum256(s.renderAs(phone, s.at, armed))
}
