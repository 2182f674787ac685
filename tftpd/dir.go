package tftpd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Dir is a FileSource of the regular files below a directory. Nothing outside it
// can be reached, by ".." or by a symbolic link.
type Dir struct{ root *os.Root }

// NewDir opens the directory; Close it after use.
func NewDir(root string) (*Dir, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("tftpd: %w", err)
	}
	return &Dir{r}, nil
}

// Close closes the directory. Files that are open stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Open implements FileSource. A leading slash is the directory itself, as with
// every TFTP server that is confined to one.
func (d *Dir) Open(_ context.Context, r Request) (*File, error) {
	name := strings.TrimLeft(path.Clean("/"+strings.ReplaceAll(r.Name, `\`, "/")), "/")
	if !fs.ValidPath(name) || strings.Contains(r.Name, "..") {
		return nil, fmt.Errorf("tftpd: %q: %w", r.Name, fs.ErrPermission)
	}
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		return nil, fmt.Errorf("tftpd: %w: %w", fs.ErrPermission, err) // a link out, a loop of links, a file for a folder
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("tftpd: %q is no regular file: %w", r.Name, fs.ErrPermission)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &File{ReadCloser: f, Size: info.Size()}, nil
}
