package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part"
)

// One backup in each window, also over midnight, and none outside.
func TestBackupDue(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 9, day, hour, minute, 0, 0, time.UTC) }
	night := config.TimeWindow{Start: 23 * 60, End: 1 * 60}
	for name, c := range map[string]struct {
		window      config.TimeWindow
		now, newest time.Time
		want        bool
	}{
		"off":                              {config.TimeWindow{Off: true}, at(2, 23, 30), time.Time{}, false},
		"none yet":                         {night, at(2, 23, 0), time.Time{}, true},
		"before the window":                {night, at(2, 22, 59), time.Time{}, false},
		"at its end":                       {night, at(3, 1, 0), time.Time{}, false},
		"after midnight":                   {night, at(3, 0, 59), at(1, 23, 10), true},
		"made in this window":              {night, at(3, 0, 59), at(2, 23, 10), false},
		"made by hand before this window":  {night, at(2, 23, 5), at(2, 12, 0), true},
		"a window that does not span days": {config.TimeWindow{Start: 60, End: 120}, at(2, 1, 30), at(1, 1, 30), true},
	} {
		if got := backupDue(c.window, c.now, c.newest); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// What does not fit is not begun: a full disk stops the telephones.
func TestBackupNeedsRoom(t *testing.T) {
	state, dir := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	b := Backups{StateDir: state, Trees: func(part.HoldFunc) []backup.Tree { return []backup.Tree{{Name: "state", Path: state}} }}
	large := filepath.Join(state, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 40
	if err := os.Truncate(large, size); err != nil { // a hole, which takes no room here
		t.Fatal(err)
	}
	if _, err := b.Create(t.Context(), dir, 3, backup.Manifest{Site: "sae303", Created: time.Now()}, nil, nil); err == nil || !strings.Contains(err.Error(), "a backup may need 1099511 MB besides 1073 MB") || !strings.Contains(err.Error(), "backup.dir") {
		t.Errorf("Create() = %v", err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.Truncate(large, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(t.Context(), dir, 3, backup.Manifest{Site: "sae303", Created: time.Now()}, nil, nil); err != nil {
		t.Errorf("Create() with room: %v", err)
	}
}

// Nothing is written below the mount point of a disk that is not there.
func TestBackupDiskIsNotMounted(t *testing.T) {
	state, point := t.TempDir(), t.TempDir()
	fstab := filepath.Join(t.TempDir(), "fstab")
	if err := os.WriteFile(fstab, []byte("UUID=1 "+point+" ext4 nofail 0 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := Backups{StateDir: state, fstab: fstab, Trees: func(part.HoldFunc) []backup.Tree { return []backup.Tree{{Name: "state", Path: state}} }}
	_, err := b.Create(t.Context(), filepath.Join(point, "backups"), 3, backup.Manifest{Site: "sae303", Created: time.Now()}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "is not mounted") || !strings.Contains(err.Error(), "mount "+point) {
		t.Errorf("Create() = %v", err)
	}
	for _, dir := range []string{state, point} {
		if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
			t.Errorf("left behind in %s: %v, %v", dir, left, err)
		}
	}
}
