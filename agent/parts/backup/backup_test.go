package backup

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/sae-agent/sae-agent/agent/backup"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/runner"
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

// A backup of a later version is refused before anything is changed; one of ours is the way out of a later version's state.
func TestLaterStateIsNotRestored(t *testing.T) {
	state, dir := t.TempDir(), t.TempDir()
	b := Backups{
		StateDir: state, Trees: func(part.HoldFunc) []backup.Tree {
			return []backup.Tree{{Name: stateTree, Path: state, Skip: []string{journalFile, "backup.key"}}}
		},
		Run: func(context.Context, runner.Command) (runner.Result, error) { return runner.Result{}, nil },
	}
	mark := filepath.Join(state, "format.json")
	ours, later, damaged := `{"format":1,"version":"0.2.0"}`, `{"format":99,"version":"9.0.0"}`, `{"format":`
	write := func(content string) {
		if err := os.WriteFile(mark, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archives := make(map[string]string)
	for i, content := range []string{ours, later, damaged} {
		write(content)
		m := backup.Manifest{Site: "sae303", Created: time.Date(2026, 9, 1, 0, 0, i, 0, time.UTC)}
		file, err := b.Create(t.Context(), dir, 3, m, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		archives[content] = file
	}
	key, _, err := backup.EnsureKey(b.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	holds := func(want string) {
		if data, err := os.ReadFile(mark); err != nil || string(data) != want {
			t.Errorf("the mark is %s, want %s: %v", data, want, err)
		}
	}
	for refused, says := range map[string]string{later: "version 9.0.0", damaged: "read the state's format"} {
		write(ours)
		if _, err := b.Stage(archives[refused], []age.Identity{key}); err == nil || !strings.Contains(err.Error(), "nothing was changed") || !strings.Contains(err.Error(), says) {
			t.Errorf("a state with %s: %v", refused, err)
		}
		holds(ours)
	}
	if left, err := filepath.Glob(filepath.Join(state, ".restore-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	write(later)
	m, err := b.Stage(archives[ours], []age.Identity{key}) // over the later one
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	holds(ours)
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
