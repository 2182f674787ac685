package leasedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	fileMode = 0o600
	// pageSize is fixed, so that the file means the same on every machine.
	pageSize = 4096
	// mapSize is address space, not memory: twice what 65,000 leases need, so that
	// the map never moves while the server runs.
	mapSize = 64 << 20
	// allocSize is the step by which the file grows (sparse).
	allocSize = 1 << 20
	// lockTimeout bounds the wait for a tool that has the file open.
	lockTimeout = time.Second
	// compactTx is how much of a copy is held in memory at once.
	compactTx = 1 << 20
	// keepCorrupt is how many damaged files stay beside the store, newest first.
	keepCorrupt = 3
)

// openBolt opens the file for writing.
//
// NoFreelistSync: the list of free pages is found by walking the tree at start (a
// few milliseconds for 50,000 leases, and the tree has just been verified); stored,
// it would be one more page per commit and one more thing that can be damaged and
// then hand out pages in use. FreelistMapType keeps the search for a free page from
// growing with the file.
func openBolt(path string, noSync bool) (*bbolt.DB, error) {
	var db *bbolt.DB
	err := guard("open", func() (err error) {
		db, err = bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout:         lockTimeout,
			PageSize:        pageSize,
			InitialMmapSize: mapSize,
			NoFreelistSync:  true,
			FreelistType:    bbolt.FreelistMapType,
			NoSync:          noSync,
		})
		if err != nil {
			return openError(err)
		}
		db.AllocSize = allocSize
		return nil
	})
	return db, err
}

// openError tells a file that bbolt does not accept from one that it could not read.
func openError(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return errors.New("another program has the file open; close it")
	case errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// guard runs fn and turns a panic or a fault on a bad page into ErrCorrupt.
func guard(what string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %s: %v", ErrCorrupt, what, r)
		}
	}()
	return fn()
}

// replace puts a new file, filled by fill and synced, in the place of path in one
// step. With aside set the old file stays under that name. Whatever fails or
// crashes on the way, path is either the old file or the new one; done tells which.
func replace(path, aside string, fill func(*bbolt.DB) error) (done bool, err error) {
	tmp := path + ".new"
	if err := ignoreMissing(os.Remove(tmp)); err != nil { // of a crash
		return false, err
	}
	defer func() {
		if !done {
			err = errors.Join(err, ignoreMissing(os.Remove(tmp)))
		}
	}()
	if err := build(tmp, fill); err != nil {
		return false, err
	}
	if aside != "" {
		if err := os.Link(path, aside); err != nil {
			return false, err
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return false, err
	}
	return true, syncDir(filepath.Dir(path))
}

func build(path string, fill func(*bbolt.DB) error) error {
	db, err := openBolt(path, true) // synced once, at the end
	if err != nil {
		return err
	}
	err = fill(db)
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// asideName returns a free name for the damaged file at path.
func asideName(path string, now time.Time) string {
	name := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	for i := 1; ; i++ {
		if _, err := os.Lstat(name); err != nil {
			return name
		}
		name = fmt.Sprintf("%s.corrupt-%s.%d", path, now.UTC().Format("20060102T150405Z"), i)
	}
}

// trimAside removes all but the newest of the files kept aside.
func trimAside(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path)) // sorted by name, so by time
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !strings.HasPrefix(e.Name(), filepath.Base(path)+".corrupt-")
	})
	for _, e := range kept[:max(0, len(kept)-keepCorrupt)] {
		if err := os.Remove(filepath.Join(filepath.Dir(path), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Layout of bbolt's two meta pages: page header, then magic, version, page size
// and flags (32 bit each), root bucket (128), free list, high water mark,
// transaction (64 each), and a FNV-1a sum of all these.
const (
	metaOffset = 16
	metaSummed = 56
)

// checkMetas returns ErrCorrupt unless both meta pages of the file are good. With
// one good page bbolt shows the file as it was one commit earlier and says nothing:
// old bindings would pass for current ones. A crash does not cause that, for a meta
// is far smaller than a disk sector; damage does.
func checkMetas(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for page := range int64(2) {
		var buf [metaSummed + 8]byte
		if _, err := f.ReadAt(buf[:], page*pageSize+metaOffset); err != nil {
			return err
		}
		sum := fnv.New64a()
		sum.Write(buf[:metaSummed])
		if binary.NativeEndian.Uint64(buf[metaSummed:]) != sum.Sum64() {
			return fmt.Errorf("%w: meta page %d", ErrCorrupt, page)
		}
	}
	return nil
}
