package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Unmounted returns the mount point that a table such as /etc/fstab names, a folder belongs to, and nothing is
// mounted at; "" if there is none. mounted is /proc/self/mountinfo, or a file like it. A mount point that waits for
// its first use (autofs) is mounted.
func Unmounted(dir, fstab, mounted string) (string, error) {
	dir, err := resolve(dir)
	if err != nil {
		return "", err
	}
	planned, err := points(fstab, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var nearest string
	for p := range planned {
		if len(p) > len(nearest) && (dir == p || p == "/" || strings.HasPrefix(dir, p+"/")) {
			nearest = p
		}
	}
	if nearest == "" || nearest == "/" {
		return "", nil
	}
	now, err := points(mounted, 4)
	if err != nil || now[nearest] {
		return "", err
	}
	return nearest, nil
}

// resolve follows the links of a folder that may not be there yet.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("disk: %w", err)
	}
	for at, below := dir, ""; ; at, below = filepath.Dir(at), filepath.Join(filepath.Base(at), below) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, below), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == "/" {
			return "", fmt.Errorf("disk: %w", err)
		}
	}
}

// points are the mount points in a column of a table.
func points(file string, column int) (map[string]bool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) <= column || strings.HasPrefix(f[0], "#") {
			continue
		}
		p := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[column])
		if filepath.IsAbs(p) { // not so for swap
			out[filepath.Clean(p)] = true
		}
	}
	return out, nil
}
