package leasedb

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// To walk a file in a child process takes most of the time of a start. A file that was closed after it had been walked,
// and is the same to the last bit, need not be walked again: what it was is kept beside it as a digest. A digest counts
// once, so that a start after a crash walks the file, whatever it crashed on.

func proofOf(path string) string { return path + ".proof" }

// leaveProof notes what the file is, now that it is closed. Without a proof the next start only takes longer.
func leaveProof(path string) error {
	sum, err := digest(path)
	if err != nil {
		return err
	}
	return renameio.WriteFile(proofOf(path), sum, fileMode)
}

// takeProof reports whether the file is what it was when it was closed. It can be asked once.
func takeProof(path string) bool {
	proof, err := os.ReadFile(proofOf(path))
	if err != nil || os.Remove(proofOf(path)) != nil {
		return false
	}
	sum, err := digest(path)
	return err == nil && bytes.Equal(sum, proof)
}

func digest(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("leasedb: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("leasedb: %w", err)
	}
	return h.Sum(nil), nil
}
