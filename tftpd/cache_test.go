package tftpd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cachedDir is a directory whose files have all come to rest, and which counts how many it reads.
func cachedDir(t *testing.T) (d *Dir, root string, reads *int) {
	root, reads = t.TempDir(), new(int)
	d = NewDir(root, nil, func(f *File) (*File, error) {
		*reads++
		if strings.Contains(string(f.Content()), "secret") {
			return nil, errors.Join(fs.ErrNotExist, f.Close())
		}
		return f, nil
	})
	t.Cleanup(func() { _ = d.Close() })
	d.small.now = func() time.Time { return time.Now().Add(restTime) }
	return d, root, reads
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A small file is read once, until it is another one: in whatever way.
func TestSmallFileIsReadOnce(t *testing.T) {
	d, root, reads := cachedDir(t)
	path, other := filepath.Join(root, "a.cfg"), filepath.Join(root, "b.cfg")
	expect := func(why, want string, more int) {
		t.Helper()
		before := *reads
		for range 3 {
			f, err := d.Open(t.Context(), Request{Name: "a.cfg"})
			if got := ""; want == "" {
				if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: served: %v", why, err)
				}
			} else if err != nil {
				t.Errorf("%s: %v", why, err)
			} else if got = string(f.Content()); got != want {
				t.Errorf("%s: %q, want %q", why, got, want)
			}
		}
		if got := *reads - before; got != more {
			t.Errorf("%s: read %d times, want %d", why, got, more)
		}
	}
	write(t, path, "first")
	expect("a new file", "first", 1)
	expect("the same file", "first", 0)
	write(t, path, "other")
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil { // as cp -p leaves it
		t.Fatal(err)
	}
	expect("another content of the same length", "other", 1)
	write(t, other, "third")
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	expect("another file in its place", "third", 1)
	if err := errors.Join(os.Rename(path, other), os.Symlink("b.cfg", path)); err != nil {
		t.Fatal(err)
	}
	expect("a link, which is followed each time", "third", 3)
	write(t, other, "a secret")
	expect("what must not be served", "", 3)
	if err := errors.Join(os.Remove(path), os.Remove(other)); err != nil {
		t.Fatal(err)
	}
	expect("no file", "", 0)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	expect("a folder", "", 0)
}

// What was changed a moment ago may change again without its times showing it.
func TestFileThatWasJustWrittenIsReadAgain(t *testing.T) {
	d, root, reads := cachedDir(t)
	d.small.now = time.Now
	write(t, filepath.Join(root, "a.cfg"), "first")
	if err := os.Chtimes(filepath.Join(root, "a.cfg"), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := d.Open(t.Context(), Request{Name: "a.cfg"}); err != nil {
			t.Fatal(err)
		}
	}
	if *reads != 3 {
		t.Errorf("read %d times", *reads)
	}
}

// However many files there are, and however large, the cache stays small.
func TestCacheIsBounded(t *testing.T) {
	d, root, _ := cachedDir(t)
	for _, size := range []int{10, readAhead, readAhead + 1} {
		for i := range 20 {
			name := strings.Repeat("x", i+1)
			write(t, filepath.Join(root, name), strings.Repeat("y", size))
			f, err := d.Open(t.Context(), Request{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		held := 0
		for path, f := range d.small.files {
			held += len(path) + len(f.content)
		}
		if held != d.small.size || held > cacheSize {
			t.Errorf("files of %d bytes: %d are held, %d counted", size, held, d.small.size)
		}
	}
}
