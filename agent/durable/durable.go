// Package durable writes small files so that they survive a power cut: after
// WriteFile returns, the file is the new one, whole; until then the old one.
package durable

import (
	"errors"
	"fmt"
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
