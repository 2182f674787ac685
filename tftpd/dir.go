package tftpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readAhead is how large a file may be, in bytes, to be read as a whole when it is
// opened: one system call instead of one for each block.
const readAhead = 64 << 10

// Dir is a FileSource of the regular files below a directory. Nothing outside it
// can be reached, by ".." or by a symbolic link. The directory may come later, and
// be replaced by another one.
type Dir struct {
	path  string
	hide  func(base string) bool
	vet   func(*File) (*File, error)
	small fileCache

	mu   sync.Mutex // guards the following
	root *os.Root   // nil while there is no directory
	info fs.FileInfo
}

// NewDir returns the directory at path; Close it after use. Files that hide reports
// true for do not exist for clients: it is asked of the last part of the name that they
// send, and of the one that a symbolic link leads to. vet is given each file that was opened, and returns it, its error
// or another File with the same content; it is not asked again of one that has not changed. Both may be nil.
func NewDir(path string, hide func(base string) bool, vet func(*File) (*File, error)) *Dir {
	if hide == nil {
		hide = func(string) bool { return false }
	}
	if vet == nil {
		vet = func(f *File) (*File, error) { return f, nil }
	}
	return &Dir{path: path, hide: hide, vet: vet, small: fileCache{now: time.Now}}
}

// Close closes the directory. Files that are open stay open.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.root == nil {
		return nil
	}
	err := d.root.Close()
	d.root = nil
	return err
}

// Open implements FileSource. A leading slash is the directory itself, as with
// every TFTP server that is confined to one.
func (d *Dir) Open(_ context.Context, r Request) (*File, error) {
	name := strings.TrimLeft(path.Clean("/"+strings.ReplaceAll(r.Name, `\`, "/")), "/")
	if !fs.ValidPath(name) || strings.Contains(r.Name, "..") {
		return nil, fmt.Errorf("tftpd: %q: %w", r.Name, fs.ErrPermission)
	}
	if d.hide(path.Base(name)) {
		return nil, fmt.Errorf("tftpd: %q: %w", r.Name, fs.ErrNotExist)
	}
	full := filepath.Join(d.path, name)
	if content, ok := d.small.get(full); ok {
		return InMemory(content), nil
	}
	before, cacheable := versionOf(full)
	f, err := d.read(name)
	if err != nil {
		return nil, err
	}
	if f, err = d.vet(f); err != nil {
		return nil, fmt.Errorf("tftpd: %q: %w", r.Name, err)
	}
	if cacheable && f.Content() != nil {
		d.small.put(full, before, f.Content())
	}
	return f, nil
}

// read opens a file below the directory, and reads it when it is small.
func (d *Dir) read(name string) (*File, error) {
	f, err := d.open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		return nil, fmt.Errorf("tftpd: %w: %w", fs.ErrPermission, err) // a link out, a loop of links, a file for a folder
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("tftpd: %q is no regular file: %w", name, fs.ErrPermission)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil || d.hide(path.Base(target)) {
		_ = f.Close()
		return nil, fmt.Errorf("tftpd: %q: %w", name, errors.Join(fs.ErrNotExist, err))
	}
	if info.Size() > readAhead {
		return &File{ReadCloser: f, Size: info.Size()}, nil
	}
	defer f.Close()
	data, err := readAll(io.LimitReader(f, readAhead), info.Size())
	if err != nil {
		return nil, fmt.Errorf("tftpd: %w", err)
	}
	return InMemory(data), nil
}

// readAll does what io.ReadAll does, with room for size bytes from the start.
func readAll(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead) // so much more is what it wants to see the end
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// open opens a file below the directory that is at the path now.
func (d *Dir) open(name string) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.path)
	if err != nil {
		return nil, err
	}
	if d.root == nil || !os.SameFile(info, d.info) {
		root, err := os.OpenRoot(d.path)
		if err != nil {
			return nil, err
		}
		if d.root != nil {
			_ = d.root.Close() // only a handle
		}
		d.root, d.info = root, info
	}
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	return d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
