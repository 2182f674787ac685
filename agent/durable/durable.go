// Package durable writes small files so that they survive a power cut: after
// WriteFile returns, the file is the new one, whole; until then the old one. What
// was kept so is read by ReadJSON.
package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// WriteFile replaces the file at path. On error the old file is still there.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if err := renameio.WriteFile(path, data, mode, renameio.WithStaticPermissions(mode)); err != nil {
		return err
	}
	// A rename alone may be lost in a power cut: it is the directory that changed.
	return SyncDir(filepath.Dir(path))
}

// WriteFileAs does the same for a file that belongs to somebody else.
func WriteFileAs(path string, data []byte, mode os.FileMode, uid, gid int) error {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chown(uid, gid); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes what was created, renamed or removed in a directory last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFileLike does the same with the owner and the mode of another file, or of the one that it replaces.
func WriteFileLike(like, path string, data []byte) error {
	fi, err := os.Stat(like)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", like)
	}
	return WriteFileAs(path, data, fi.Mode().Perm(), int(st.Uid), int(st.Gid))
}

// ReadJSON reads a file into a value. One that is not there leaves the value alone,
// and is no error.
func ReadJSON(path string, into any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(data, into)
}
