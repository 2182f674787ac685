package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what a figure means nothing without.
type machine struct {
	cpu, kernel, memory, disk, load string
	fsync                           time.Duration
	versions                        []string
	at                              time.Time
}

// describe looks at the machine and measures one synced append to a file in dir.
func describe(dir string) machine {
	m := machine{
		cpu:    fmt.Sprintf("%d x %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name")),
		memory: field("/proc/meminfo", "MemTotal"),
		disk:   fileSystem(dir),
		fsync:  syncTime(dir),
		at:     time.Now().UTC(),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	return m
}

// field returns the first value of a "key : value" file.
func field(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.TMPFS_MAGIC: "tmpfs (no disk: durable servers look better than they are)", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
}

func fileSystem(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return "unknown"
	}
	if name := fileSystems[s.Type]; name != "" {
		return name
	}
	return fmt.Sprintf("file system %#x", s.Type)
}

// syncTime is the mean of appending 4 kB to a file and syncing it.
func syncTime(dir string) time.Duration {
	const times = 200
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0
	}
	defer os.Remove(f.Name())
	defer f.Close()
	start := time.Now()
	for range times {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0
		}
		if err := f.Sync(); err != nil {
			return 0
		}
	}
	return time.Since(start) / times
}

// versionsOf asks the contenders' programs for their versions.
func versionsOf(contenders []contender, build string) (all []string) {
	for _, c := range contenders {
		for _, args := range c.versions {
			name := args[0]
			if c.name == ours {
				name = filepath.Join(build, name)
			}
			out, err := exec.Command(name, args[1:]...).CombinedOutput()
			if len(out) == 0 && err != nil {
				out = []byte(err.Error())
			}
			all = append(all, fmt.Sprintf("%s: %s", args[0], firstLine(string(out))))
		}
	}
	return all
}

func (m machine) text() string {
	lines := []string{
		fmt.Sprintf("%s, %s, Linux %s, load %s, %s", m.cpu, m.memory, m.kernel, m.load, m.at.Format("2006-01-02 15:04 MST")),
		fmt.Sprintf("state on %s, 4 kB written and synced in %v", m.disk, m.fsync.Round(time.Microsecond)),
	}
	return strings.Join(append(lines, m.versions...), "\n")
}
