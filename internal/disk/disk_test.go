package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/internal/disk"
)

func TestFree(t *testing.T) {
	dir := t.TempDir()
	if free, err := disk.Free(filepath.Join(dir, "not", "there", "yet")); err != nil || free <= 0 {
		t.Errorf("%d bytes, %v", free, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var at *fs.PathError
	if _, err := disk.Free(filepath.Join(file, "below")); !errors.Is(err, unix.ENOTDIR) || !errors.As(err, &at) {
		t.Errorf("below a file: %v", err)
	}
}
