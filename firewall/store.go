package firewall

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

const (
	bansFile    = "bans.json"
	rulesetFile = "ruleset.nft"
)

// record is what is remembered of a sender: its ban, if one is in force, and how
// often it was banned.
type record struct {
	Addr     netip.Addr `json:"addr"`
	Jail     string     `json:"jail"`
	Reason   string     `json:"reason,omitempty"`
	Since    time.Time  `json:"since"`
	Until    time.Time  `json:"until"`
	Attempts int        `json:"attempts,omitempty"`
	Times    int        `json:"times"`
	Kernel   bool       `json:"kernel,omitempty"` // banned by the shield
}

// memory is how long a sender's earlier bans make the next one longer.
const memory = 7 * 24 * time.Hour

func loadBans(dir string, now time.Time) (map[netip.Addr]record, error) {
	out := make(map[netip.Addr]record)
	if dir == "" {
		return out, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, bansFile))
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("firewall: read the bans: %w", err)
	}
	list, err := parseBans(data)
	for _, r := range list {
		if now.Sub(r.Until) < memory {
			out[r.Addr] = r
		}
	}
	return out, err
}

func parseBans(data []byte) ([]record, error) {
	var list []record
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("firewall: the file of bans is damaged: %w", err)
	}
	var out []record
	for _, r := range list {
		if r.Addr.IsValid() && r.Addr == sender(r.Addr) && r.Until.After(r.Since) && r.Until.Sub(r.Since) <= MaxBan {
			out = append(out, r)
		}
	}
	return out, nil
}

func saveBans(dir string, bans map[netip.Addr]record) error {
	if dir == "" {
		return nil
	}
	list := make([]record, 0, len(bans))
	for _, r := range bans {
		list = append(list, r)
	}
	sortRecords(list)
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return write(dir, bansFile, data)
}

// write replaces a file as a whole, so that a power cut leaves the old one or the new one.
func write(dir, name string, data []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		return fmt.Errorf("firewall: write %s: %w", name, err)
	}
	return nil
}
