package stacks

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// madeMark is the file that says that a project's folders have been made: what is
// in those of the containers is theirs from then on.
const madeMark = ".made"

// writeProject makes a project's folders and files as they should be. Writing
// twice changes nothing; rewritten says that a file which containers read was not as
// it should be. The daemon has no right to what belongs to other accounts: it gives
// folders away, and does not look at them afterwards.
func writeProject(dir string, p *kind.Project) (rewritten bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	_, err = os.Lstat(filepath.Join(dir, madeMark))
	made := err == nil
	for _, f := range p.Folders {
		if err := makeFolder(filepath.Join(dir, f.Path), f, made); err != nil {
			return false, err
		}
	}
	own := []kind.File{{Path: "compose.yaml", Content: p.Compose, Mode: 0o600}, {Path: ".env", Content: p.Env, Mode: 0o600}}
	for i, f := range append(own, p.Files...) {
		written, err := writeFile(filepath.Join(dir, f.Path), f)
		if err != nil {
			return false, err
		}
		rewritten = rewritten || written && i >= len(own)
	}
	if !made {
		if err := durable.WriteFile(filepath.Join(dir, madeMark), nil, 0o600); err != nil {
			return false, err
		}
	}
	return rewritten, giveFolders(dir, p.Folders)
}

// giveFolders gives folders to their owners, the inner ones first, while we may.
// Those that are somebody's already stay.
func giveFolders(dir string, folders []kind.Folder) error {
	for i := len(folders) - 1; i >= 0; i-- {
		f := folders[i]
		path := filepath.Join(dir, f.Path)
		var st unix.Stat_t
		if f.UID == 0 || unix.Lstat(path, &st) != nil || st.Uid != 0 {
			continue
		}
		if err := os.Chown(path, f.UID, f.UID); err != nil {
			return err
		}
	}
	return nil
}

func makeFolder(path string, f kind.Folder, made bool) error {
	err := os.Mkdir(path, f.Mode)
	if err != nil && made && (errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, f.Mode) // whatever the umask is
}

// writeFile reports whether the file had to be written.
func writeFile(path string, f kind.File) (bool, error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, f.Content) {
		return false, nil
	}
	if f.GID == 0 {
		return true, durable.WriteFile(path, f.Content, f.Mode)
	}
	return true, durable.WriteFileAs(path, f.Content, f.Mode, 0, f.GID)
}
