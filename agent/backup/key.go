package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"filippo.io/age"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// EnsureKey returns the key in a file; where there is none, it makes one and says so.
func EnsureKey(file string) (key *age.X25519Identity, made bool, err error) {
	key, err = readOwnKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if key, err = age.GenerateX25519Identity(); err != nil {
		return nil, false, fmt.Errorf("backup: make a key: %w", err)
	}
	text := "# Opens the backups of this machine (age). Without it they are lost: keep a copy elsewhere.\n" + key.String() + "\n"
	if err := durable.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, false, fmt.Errorf("backup: keep the key: %w", err)
	}
	return key, true, nil
}

func readOwnKey(file string) (*age.X25519Identity, error) {
	keys, err := ReadKeys(file)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if own, ok := k.(*age.X25519Identity); ok {
			return own, nil
		}
	}
	return nil, fmt.Errorf("backup: %s holds no X25519 key of age", file)
}

// ReadKeys reads a file of age keys, a line each. Its errors quote nothing of it.
func ReadKeys(file string) ([]age.Identity, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	keys, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("backup: %s is not a file of age keys, which are lines such as AGE-SECRET-KEY-1…", file)
	}
	return keys, nil
}
