// Package backup puts folders into one encrypted archive and gives them back.
//
// An archive is a tar file (pax), compressed with zstd and encrypted with age
// (age-encryption.org/v1), so that a person can open it without this program. Its
// first entry is the Manifest; every other name begins with that of its Tree.
// age's encryption is authenticated: what was changed or cut off does not open.
//
// The package knows neither what is in the folders nor how to have it stand still
// while it is read: each Tree brings a func for that.
package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// Tree is a folder that belongs into a backup.
type Tree struct {
	// Name in the archive, such as "state" or "stacks/nextcloud". No name begins
	// with another and a slash.
	Name string
	// Path is the folder's place, now and when it is given back.
	Path string
	// Only names what of the folder is taken, as path.Match has it; empty: all.
	Only []string
	// Skip names what directly in the folder is left out, and left alone when the
	// rest is given back.
	Skip []string
	// Numeric keeps the numbers of owners, for files of containers. Otherwise their
	// names count: a program's account has another number on another machine.
	Numeric bool
	// Foreign is a folder of other programs, which keep links that lead out of it (FreePBX in /etc/asterisk, what is in
	// a container). Otherwise an archive with such a link is refused when it is given back.
	Foreign bool
	// Hold has the folder stand still. It returns where to read it, which may be a
	// copy, and what lets it go on. Nil: it stands still anyway.
	Hold func(ctx context.Context) (from string, release func(), err error)
}

// takes reports whether the tree has an entry directly in its folder.
func (t Tree) takes(name string) bool {
	if strings.HasPrefix(name, workPrefix) || slices.Contains(t.Skip, name) {
		return false
	}
	return len(t.Only) == 0 || slices.ContainsFunc(t.Only, func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil })
}

// Size is how many bytes the tree's files have; what comes and goes meanwhile is
// not counted.
func (t Tree) Size() (sum int64, err error) {
	err = filepath.WalkDir(t.Path, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("backup: size of %s: %w", t.Path, err)
		}
		if filepath.Dir(p) == t.Path && p != t.Path && !t.takes(d.Name()) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			sum += fi.Size()
		}
		return nil
	})
	return sum, err
}

// Manifest says what an archive is.
type Manifest struct {
	Format  int       `json:"format"` // 1
	Site    string    `json:"site"`
	Version string    `json:"version"` // of the program that made it
	Created time.Time `json:"created"`
	Trees   []string  `json:"trees"`
}

const (
	format       = 1
	manifestName = "manifest.json"
	suffix       = ".backup"
	stamp        = "20060102T150405Z"
)

// FileName is the name of an archive: its time is in it, so names sort by time.
func FileName(created time.Time) string { return "sae-agent-" + created.UTC().Format(stamp) + suffix }

// Create writes an archive into dir and returns its path. A tree whose folder does
// not exist is left out, and what is in its place elsewhere stays. After an error
// there is no new file. The folder is made 0700 when absent.
func Create(ctx context.Context, dir string, m Manifest, trees []Tree, to ...age.Recipient) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	trees = slices.DeleteFunc(slices.Clone(trees), func(t Tree) bool { _, err := os.Lstat(t.Path); return errors.Is(err, fs.ErrNotExist) })
	m.Format, m.Trees = format, nil
	for _, t := range trees {
		m.Trees = append(m.Trees, t.Name)
	}
	file := filepath.Join(dir, FileName(m.Created))
	partial := file + ".partial"
	f, err := os.OpenFile(partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("backup: %w", err)
	}
	err = write(ctx, f, m, trees, to)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(partial, file)
	}
	if err != nil {
		_ = os.Remove(partial)
		return "", fmt.Errorf("backup: write %s: %w", file, err)
	}
	return file, durable.SyncDir(dir)
}

// write writes the whole archive.
func write(ctx context.Context, w io.Writer, m Manifest, trees []Tree, to []age.Recipient) error {
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return err
	}
	packed, err := zstd.NewWriter(sealed)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(packed)
	err = writeManifest(tw, m)
	for _, t := range trees {
		if err == nil {
			err = writeTree(ctx, tw, t)
		}
	}
	return errors.Join(err, tw.Close(), packed.Close(), sealed.Close())
}

func writeManifest(tw *tar.Writer, m Manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	h := &tar.Header{Name: manifestName, Mode: 0o600, Size: int64(len(data)), ModTime: m.Created, Format: tar.FormatPAX}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = tw.Write(data)
	return err
}

// writeTree adds a folder while it stands still.
func writeTree(ctx context.Context, tw *tar.Writer, t Tree) error {
	from := t.Path
	if t.Hold != nil {
		held, release, err := t.Hold(ctx)
		if err != nil {
			return fmt.Errorf("have %s stand still: %w", t.Name, err)
		}
		defer release()
		from = held
	}
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if rel != "." && filepath.Dir(rel) == "." && !t.takes(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return writeEntry(tw, t, p, path.Join(t.Name, filepath.ToSlash(rel)), d)
	})
}

// writeEntry adds one file, folder or link. Sockets and the like are made by
// whoever needs them.
func writeEntry(tw *tar.Writer, t Tree, p, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if link, err = os.Readlink(p); err != nil {
			return err
		}
	default:
		return nil
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if info.Mode()&fs.ModeSymlink == 0 && info.Mode() != safeMode(info.Mode()) { // it would be refused when given back
		safe, err := tar.FileInfoHeader(modeInfo{info, safeMode(info.Mode())}, "")
		if err != nil {
			return err
		}
		h.Mode = safe.Mode
	}
	if info.IsDir() {
		h.Name += "/"
	}
	if t.Numeric {
		h.Uname, h.Gname = "", ""
	}
	if info.Mode().Type() != 0 {
		return tw.WriteHeader(h)
	}
	return writeFile(tw, h, p)
}

// modeInfo is a file with another mode.
type modeInfo struct {
	fs.FileInfo
	mode fs.FileMode
}

func (i modeInfo) Mode() fs.FileMode { return i.mode }

func writeFile(tw *tar.Writer, h *tar.Header, p string) error {
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	// What grows meanwhile is taken as it was; what shrinks cannot be.
	if _, err := io.CopyN(tw, f, h.Size); err != nil {
		return fmt.Errorf("%s changed while it was read, try again: %w", p, err)
	}
	return nil
}
