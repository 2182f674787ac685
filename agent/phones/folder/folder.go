// Package folder is the directory of the operator's own files for phones: firmware, ring
// tones, backgrounds.
//
// Everybody on the LAN may read what lies there. So what manual set-ups leave in such a
// directory is not served: files with a phone's name, however it is written or linked,
// and configuration files with a password in them.
package folder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/tftpd"
)

const (
	// maxText is how large a file may be that is looked into, in bytes. The whole configuration of a phone is a tenth.
	maxText = 1 << 20
	// sniff is how far a file is read to tell text from the rest.
	sniff = 1 << 10
	// Bounds of one search for leftovers.
	maxFiles = 10_000
	maxRead  = 64 << 20
	// foundFor is how long the result of a search is good.
	foundFor = 10 * time.Second
)

// Folder is the directory. Its methods may be called from any goroutine.
type Folder struct {
	mu    sync.Mutex // guards the following
	path  string
	dir   *tftpd.Dir
	found []string
	at    time.Time // when it was searched
	known map[string]verdict
}

// verdict is what was found in a file that has not changed since.
type verdict struct {
	size     int64
	modified time.Time
	password bool
}

// Open opens a file below the directory at path. It does not exist if it is a phone's.
func (f *Folder) Open(ctx context.Context, path string, r tftpd.Request) (*tftpd.File, error) {
	return f.directory(path).Open(ctx, r)
}

// directory returns the directory at path, kept open between requests.
func (f *Folder) directory(path string) *tftpd.Dir {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dir == nil || f.path != path {
		// A directory that is not used any more is closed by its finalizer, since
		// a request may be using it now.
		f.dir, f.path, f.at = tftpd.NewDir(path, yealink.IsPhones, withoutPassword), path, time.Time{}
	}
	return f.dir
}

// withoutPassword returns the file, or fs.ErrNotExist if it is text with a password. A file that was read for it is
// in memory then.
func withoutPassword(file *tftpd.File) (*tftpd.File, error) {
	data := file.Content()
	if data == nil {
		if file.Size > maxText {
			return file, nil
		}
		head := make([]byte, sniff)
		n, err := io.ReadFull(file, head)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return nil, errors.Join(err, file.Close())
		}
		if !isText(head[:n]) {
			// What was read is put in front again.
			return &tftpd.File{ReadCloser: rejoined{io.MultiReader(bytes.NewReader(head[:n]), file), file}, Size: file.Size}, nil
		}
		rest, err := io.ReadAll(io.LimitReader(file, maxText))
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		data = append(head[:n:n], rest...)
		file = tftpd.InMemory(data)
	}
	if isText(data) && yealink.HoldsPassword(data) != "" {
		return nil, errors.Join(fs.ErrNotExist, file.Close())
	}
	return file, nil
}

type rejoined struct {
	io.Reader
	io.Closer
}

func isText(b []byte) bool { return bytes.IndexByte(b[:min(len(b), sniff)], 0) < 0 }

// Leftovers lists the files below the directory that are never served, because of their name or of a password in
// them. Whoever can read the directory on this machine reads them all the same.
func (f *Folder) Leftovers(path string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == path && time.Since(f.at) < foundFor {
		return f.found
	}
	s := search{known: f.known, next: make(map[string]verdict)}
	_ = filepath.WalkDir(path, s.visit) // what cannot be read is not served either
	slices.Sort(s.found)
	if f.path != path {
		f.dir = nil
	}
	f.path, f.found, f.known, f.at = path, s.found, s.next, time.Now()
	return f.found
}

// search is one walk through the directory.
type search struct {
	known, next map[string]verdict
	found       []string
	files       int
	read        int64
}

func (s *search) visit(path string, e fs.DirEntry, err error) error {
	if err != nil || e.IsDir() {
		return nil
	}
	if s.files++; s.files > maxFiles {
		return fs.SkipAll
	}
	name, links := e.Name(), e.Type()&fs.ModeSymlink != 0
	if links {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			name = target
		}
	}
	if yealink.IsPhones(e.Name()) || yealink.IsPhones(name) || !links && e.Type().IsRegular() && s.password(path, e) {
		s.found = append(s.found, path)
	}
	return nil
}

// password reports whether a file holds one.
func (s *search) password(path string, e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil || info.Size() > maxText {
		return false
	}
	v, ok := s.known[path]
	if !ok || v.size != info.Size() || !v.modified.Equal(info.ModTime()) {
		if s.read += info.Size(); s.read > maxRead {
			return false
		}
		data, err := os.ReadFile(path)
		v = verdict{info.Size(), info.ModTime(), err == nil && isText(data) && yealink.HoldsPassword(data) != ""}
	}
	s.next[path] = v
	return v.password
}
