package backup

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unpacker writes entries into the folder "new" of a tree's work folder, and
// nowhere else, whatever their names and links say.
type unpacker struct {
	root    *os.Root
	tree    Tree
	folders []folder // whose time and mode are set at the end
}

type folder struct {
	name string
	mode fs.FileMode
	time time.Time
}

// newUnpacker removes what an earlier restore has left, and begins.
func newUnpacker(work string, t Tree) (*unpacker, error) {
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "new")
	// The tree's own folder, where it has to be made, is for everybody to enter.
	if err := os.MkdirAll(filepath.Dir(work), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	return &unpacker{root: root, tree: t}, err
}

func (u *unpacker) close() { _ = u.root.Close() }

// unpack writes one entry. That of the tree's folder itself is passed over: it
// keeps its owner and mode, or gets those of a new folder.
func (u *unpacker) unpack(rel string, h *tar.Header, content io.Reader) error {
	if rel == "." {
		return nil
	}
	if err := u.refuse(rel, h); err != nil {
		return err
	}
	if dir := filepath.Dir(rel); dir != "." {
		if err := u.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(rel, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.folders = append(u.folders, folder{rel, h.FileInfo().Mode(), h.ModTime})
	case tar.TypeReg:
		if err := u.file(rel, h, content); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, rel); err != nil {
			return err
		}
	default:
		return fmt.Errorf("an entry of type %q does not belong into a backup", h.Typeflag)
	}
	return u.own(rel, h)
}

// refuse returns why an entry is none that Create makes: whoever has the public key can make an archive.
func (u *unpacker) refuse(rel string, h *tar.Header) error {
	first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	mode := h.FileInfo().Mode()
	switch {
	case !filepath.IsLocal(rel) || !u.tree.takes(first):
		return fmt.Errorf("%q is no part of %s", rel, u.tree.Name)
	case h.Typeflag == tar.TypeSymlink && !u.tree.Foreign && !filepath.IsLocal(filepath.Join(filepath.Dir(rel), h.Linkname)),
		h.Typeflag == tar.TypeSymlink && !u.tree.Foreign && filepath.IsAbs(h.Linkname):
		return fmt.Errorf("a link to %s leads out of %s", h.Linkname, u.tree.Name)
	case h.Typeflag != tar.TypeSymlink && mode != safeMode(mode):
		return fmt.Errorf("the mode %v gives rights to others that no file of a backup has", mode)
	}
	return nil
}

// safeMode is a mode without what would give others rights: set-user-ID and the like on files, writing by everybody.
// A folder may keep its group (set-group-ID), and one for everybody as /tmp is (sticky).
func safeMode(m fs.FileMode) fs.FileMode {
	if !m.IsDir() {
		return m &^ (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o002)
	}
	if m&fs.ModeSticky == 0 {
		m &^= 0o002
	}
	return m &^ fs.ModeSetuid
}

func (u *unpacker) file(rel string, h *tar.Header, content io.Reader) error {
	f, err := u.root.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// own sets an entry's owner, then its mode, which changing the owner may reduce.
func (u *unpacker) own(rel string, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if !u.tree.Numeric {
		if a, err := user.Lookup(h.Uname); err == nil {
			uid, _ = strconv.Atoi(a.Uid)
		}
		if g, err := user.LookupGroup(h.Gname); err == nil {
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	if err := u.root.Lchown(rel, uid, gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if err := u.root.Chmod(rel, h.FileInfo().Mode()); err != nil {
		return err
	}
	return u.root.Chtimes(rel, h.ModTime, h.ModTime)
}

// finish sets what filling the folders has changed, and has all of it on disk.
func (u *unpacker) finish() error {
	for _, f := range u.folders {
		if err := errors.Join(u.root.Chmod(f.name, f.mode), u.root.Chtimes(f.name, f.time, f.time)); err != nil {
			return err
		}
	}
	d, err := u.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
