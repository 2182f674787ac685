package tftpd

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cacheSize bounds the files that a fileCache holds, in bytes together with their names.
	cacheSize = 512 << 10
	// restTime is how long a file must not have been changed before it is kept: the kernel's times of a file are coarse,
	// and a change right after another one might not show.
	restTime = 2 * time.Second
)

// fileCache holds small files that were read: to see that one has not changed takes one system call, to read it takes
// ten.
type fileCache struct {
	now func() time.Time

	mu    sync.Mutex // guards the following
	files map[string]cachedFile
	size  int
}

// cachedFile is a file's content, and which file it was.
type cachedFile struct {
	version version
	content []byte
}

// version tells a file from others, and from itself before it was changed, renamed or had its rights changed.
type version struct {
	device, inode     uint64
	size              int64
	modified, changed unix.Timespec
}

// versionOf returns the version of what is at a path now, and whether that is a regular file.
func versionOf(path string) (v version, regular bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return v, false
	}
	return version{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, true
}

// get returns the content of a file that has not changed since it was read.
func (c *fileCache) get(path string) ([]byte, bool) {
	c.mu.Lock()
	f, ok := c.files[path]
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	if now, regular := versionOf(path); !regular || now != f.version {
		return nil, false
	}
	return f.content, true
}

// put keeps what was read of a file after its version was found out.
func (c *fileCache) put(path string, v version, content []byte) {
	age := c.now().Sub(time.Unix(v.changed.Unix()))
	if age < restTime || len(content) > readAhead || int64(len(content)) != v.size {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := len(path) + len(content)
	if old, ok := c.files[path]; ok {
		c.size -= len(path) + len(old.content)
		delete(c.files, path)
	}
	if c.size+size > cacheSize || c.files == nil {
		c.files, c.size = make(map[string]cachedFile), 0 // what is still wanted comes again
	}
	c.files[path] = cachedFile{v, content}
	c.size += size
}
