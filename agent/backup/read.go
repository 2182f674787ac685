package backup

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// maxManifest bounds what is read before anything is known of an archive.
const maxManifest = 1 << 20

// archive is an archive that is being read.
type archive struct {
	Manifest
	tar    *tar.Reader
	packed *zstd.Decoder
	file   *os.File
}

// open opens an archive and reads its manifest.
func open(file string, keys ...age.Identity) (_ *archive, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	plain, err := age.Decrypt(f, keys...)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("%s was made for another key: name its key file with --key", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a backup, or is damaged: %w", file, err)
	}
	packed, err := zstd.NewReader(plain)
	if err != nil {
		return nil, err
	}
	a := &archive{tar: tar.NewReader(packed), packed: packed, file: f}
	if err := a.readManifest(); err != nil {
		packed.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, nil
}

func (a *archive) readManifest() error {
	h, err := a.tar.Next()
	if err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	if h.Name != manifestName {
		return fmt.Errorf("not a backup of sae-agent: it begins with %q", h.Name)
	}
	if err := json.NewDecoder(io.LimitReader(a.tar, maxManifest)).Decode(&a.Manifest); err != nil {
		return fmt.Errorf("damaged manifest: %w", err)
	}
	if a.Format != format {
		return fmt.Errorf("made by sae-agent %s in a format (%d) that this version does not read: use that version", a.Version, a.Format)
	}
	return nil
}

func (a *archive) close() {
	a.packed.Close()
	_ = a.file.Close()
}

// next returns the next entry with the tree that it belongs to and its path in
// the tree; io.EOF at the end.
func (a *archive) next() (tree, rel string, h *tar.Header, err error) {
	h, err = a.tar.Next()
	if err != nil {
		return "", "", nil, err
	}
	name := strings.TrimSuffix(h.Name, "/")
	for _, t := range a.Trees {
		if name == t {
			return t, ".", h, nil
		}
		if rel, ok := strings.CutPrefix(name, t+"/"); ok {
			return t, filepath.FromSlash(rel), h, nil
		}
	}
	return "", "", nil, fmt.Errorf("%q belongs to nothing that the manifest names", h.Name)
}

// Inspect reads an archive's beginning and returns its manifest.
func Inspect(file string, keys ...age.Identity) (Manifest, error) {
	a, err := open(file, keys...)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	defer a.close()
	return a.Manifest, nil
}

// Verify reads a whole archive and returns its manifest.
func Verify(file string, keys ...age.Identity) (Manifest, error) {
	a, err := open(file, keys...)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	defer a.close()
	for {
		_, _, _, err := a.next()
		if err == nil {
			_, err = io.Copy(io.Discard, a.tar)
		}
		if errors.Is(err, io.EOF) {
			return a.Manifest, nil
		}
		if err != nil {
			return Manifest{}, fmt.Errorf("backup: %s is damaged: %w", file, err)
		}
	}
}

// Listed is an archive in a folder.
type Listed struct {
	File    string    `json:"file"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes"`
	// Manifest of an archive that the key opens.
	Manifest *Manifest `json:"manifest,omitempty"`
	Problem  string    `json:"problem,omitempty"` // why there is none
}

// Files returns the archives in dir, oldest first, by their names alone. A folder
// that does not exist has none.
func Files(dir string) ([]Listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("backup: %w", err)
	}
	out := []Listed{}
	for _, e := range entries {
		created, err := time.Parse("sae-agent-"+stamp+suffix, e.Name())
		if err != nil {
			continue // not ours
		}
		info, err := e.Info()
		if err != nil {
			continue // it has gone
		}
		out = append(out, Listed{File: filepath.Join(dir, e.Name()), Created: created, Bytes: info.Size()})
	}
	slices.SortFunc(out, func(a, b Listed) int { return a.Created.Compare(b.Created) })
	return out, nil
}

// List is Files with what is in each archive. Only their beginnings are read.
func List(dir string, keys ...age.Identity) ([]Listed, error) {
	all, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for i := range all {
		l := &all[i]
		a, err := open(l.File, keys...)
		if err != nil {
			l.Problem = err.Error()
			continue
		}
		l.Manifest = &a.Manifest
		a.close()
	}
	return all, nil
}

// Prune removes all but the newest archives of a folder.
func Prune(dir string, keep int) error {
	all, err := Files(dir)
	if err != nil {
		return err
	}
	for len(all) > keep {
		if err := os.Remove(all[0].File); err != nil {
			return fmt.Errorf("backup: remove an old archive: %w", err)
		}
		all = all[1:]
	}
	return nil
}
