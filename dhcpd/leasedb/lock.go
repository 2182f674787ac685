package leasedb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// acquire takes the lock file at path for the life of the store. The lock is a
// file of its own because the store's file may be replaced by another under its
// name; it stays behind when the process ends, the lock on it does not.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("leasedb: cannot write beside the lease file: %w", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		who := holder(f)
		f.Close()
		return nil, fmt.Errorf("leasedb: %s is locked by %s: only one server can keep its leases there, stop the other one first", path, who)
	case err != nil:
		f.Close()
		return nil, fmt.Errorf("leasedb: lock %s: %w", path, err)
	}
	// The name of the holder is a courtesy: a full disk must not stop a server
	// whose leases are fine.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}

// holder names the process that wrote itself into the lock file.
func holder(f *os.File) string {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	if err != nil || pid <= 0 {
		return "another process"
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm)))
}
