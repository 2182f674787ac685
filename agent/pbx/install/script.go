package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ScriptURL is where Sangoma keeps its installer.
const ScriptURL = "https://raw.githubusercontent.com/FreePBX/sng_freepbx_debian_install/master/sng_freepbx_debian_install.sh"

const (
	// maxScript bounds the script's size in bytes; it had 60 KiB in 2025.
	maxScript = 4 << 20
	fetchTime = time.Minute
)

// ErrNotApproved says that the script is not the one that was approved.
var ErrNotApproved = errors.New("the installer is not the one that was approved")

// Fetch downloads the script over HTTPS.
func Fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("install: fetch the installer, or download it elsewhere and use --script: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("install: %s answers %s: download the installer elsewhere and use --script", url, resp.Status)
	}
	return Read(resp.Body)
}

// Read reads a script, and refuses what is none.
func Read(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxScript+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("install: read the installer: %w", err)
	case len(data) > maxScript:
		return nil, fmt.Errorf("install: the installer has more than %d bytes: it is something else", maxScript)
	case !bytes.HasPrefix(data, []byte("#!/bin/bash")) && !bytes.HasPrefix(data, []byte("#!/usr/bin/env bash")):
		return nil, errors.New("install: this is no installer: its first line is not #!/bin/bash")
	}
	return data, nil
}

// Sum is the script's SHA-256, in hexadecimal.
func Sum(script []byte) string {
	sum := sha256.Sum256(script)
	return hex.EncodeToString(sum[:])
}

// Approved compares a script with the sum that the operator has pinned.
func Approved(script []byte, pinned string) error {
	if sum := Sum(script); sum != pinned {
		return fmt.Errorf("%w: its SHA-256 is %s, and pbx.installer_sha256 says %s; look at what has changed, then write the new one there", ErrNotApproved, sum, pinned)
	}
	return nil
}
