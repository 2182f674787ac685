package backup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

var midnight = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, _, err := EnsureKey(filepath.Join(t.TempDir(), "backup.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// plant makes files, whose names end in / for folders and have -> for links.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o750)
		case strings.HasPrefix(content, "->"):
			err = os.Symlink(content[2:], path)
		default:
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o640))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// grown reads a folder as plant would make it, without the work folders.
func grown(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		switch {
		case err != nil:
		case d.IsDir() && strings.HasPrefix(d.Name(), workPrefix):
			return filepath.SkipDir
		case d.IsDir():
			out[rel+"/"] = ""
		case d.Type()&os.ModeSymlink != 0:
			var to string
			to, err = os.Readlink(p)
			out[rel] = "->" + to
		default:
			var data []byte
			data, err = os.ReadFile(p)
			out[rel] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func create(t *testing.T, trees []Tree, to ...age.Recipient) string {
	t.Helper()
	file, err := Create(t.Context(), t.TempDir(), Manifest{Site: "sae303", Version: "1", Created: midnight}, trees, to...)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What was saved comes back, with its modes, owners and times; what is not of the tree stays.
func TestRoundTrip(t *testing.T) {
	key := newKey(t)
	state, copied := t.TempDir(), t.TempDir()
	plant(t, state, map[string]string{
		"secrets.json": "{}", "configs/": "", "configs/1.yaml": "one", "empty/": "", "link": "->configs/1.yaml", "out": "->/etc/shadow", "skipped": "old", "leases.db": "in use",
	})
	plant(t, copied, map[string]string{"leases.db": "copy", "other": "not taken"})
	when := midnight.Add(-time.Hour)
	if err := errors.Join(os.Chmod(filepath.Join(state, "secrets.json"), 0o600), os.Chown(filepath.Join(state, "empty"), 1234, 5678),
		os.Chtimes(filepath.Join(state, "configs/1.yaml"), when, when)); err != nil {
		t.Fatal(err)
	}
	released := 0
	trees := []Tree{
		{Name: "state", Path: state, Skip: []string{"skipped", "leases.db"}, Numeric: true, Foreign: true},
		{Name: "leases", Path: state, Only: []string{"leases.*"}, Hold: func(context.Context) (string, func(), error) {
			return copied, func() { released++ }, nil
		}},
		{Name: "absent", Path: filepath.Join(state, "nowhere")},
	}
	file := create(t, trees, key.Recipient())
	if released != 1 {
		t.Errorf("what stood still was released %d times", released)
	}
	if m, err := Verify(file, key); err != nil || m.Site != "sae303" {
		t.Fatalf("verify: %+v, %v", m, err)
	}

	fresh := t.TempDir()
	plant(t, fresh, map[string]string{"secrets.json": "of this machine", "unknown": "of this machine", "skipped": "stays", "leases.db": "of this machine"})
	trees[0].Path, trees[1].Path, trees[2].Path = fresh, fresh, filepath.Join(fresh, "nowhere")
	r := Restore{Trees: trees, Journal: filepath.Join(t.TempDir(), "journal")}
	m, err := r.Stage(file, key)
	if err != nil {
		t.Fatal(err)
	}
	if got := grown(t, fresh)["secrets.json"]; got != "of this machine" {
		t.Errorf("unpacking changed what is there: %q", got)
	}
	if err := r.Finish(m); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"secrets.json": "{}", "configs/": "", "configs/1.yaml": "one", "empty/": "", "link": "->configs/1.yaml", "out": "->/etc/shadow",
		"skipped": "stays", "leases.db": "copy",
	}
	if diff := cmp.Diff(want, grown(t, fresh)); diff != "" {
		t.Error(diff)
	}
	if old := grown(t, filepath.Join(r.work(trees[0]), "old")); old["unknown"] != "of this machine" {
		t.Errorf("what was there is lost: %v", old)
	}
	info, err := os.Stat(filepath.Join(fresh, "empty"))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 1234 || info.Sys().(*syscall.Stat_t).Gid != 5678 || info.Mode().Perm() != 0o750 {
		t.Errorf("owner or mode of a folder: %+v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(fresh, "secrets.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of a file: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(fresh, "configs/1.yaml")); err != nil || !info.ModTime().Equal(when) {
		t.Errorf("time of a file: %v, %v", info.ModTime(), err)
	}
	if r.Begun() {
		t.Error("the journal is still there")
	}

	r.Omit = []string{"state/configs", "state/secrets"}
	if m, err = r.Stage(file, key); err == nil {
		err = r.Finish(m)
	}
	got := grown(t, fresh)
	if _, old := got["configs/1.yaml"]; err != nil || old || got["secrets.json"] != "{}" {
		t.Errorf("without configs: %v, %v", got, err)
	}
}

// A damaged or foreign archive, wherever it is damaged, changes nothing.
func TestBadArchives(t *testing.T) {
	key := newKey(t)
	from := t.TempDir()
	plant(t, from, map[string]string{"a": strings.Repeat("content ", 100), "b": "more"})
	file := create(t, []Tree{{Name: "state", Path: from}}, key.Recipient())
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		keys []age.Identity
		want string
	}{
		"another key":   {good, []age.Identity{newKey(t)}, "another key"},
		"not a backup":  {[]byte("hello"), []age.Identity{key}, "not a backup"},
		"empty":         {nil, []age.Identity{key}, "not a backup"},
		"cut off":       {good[:len(good)-1], []age.Identity{key}, ""},
		"cut in half":   {good[:len(good)/2], []age.Identity{key}, ""},
		"one bit":       {append(bytes.Clone(good[:len(good)-20]), append([]byte{good[len(good)-20] ^ 1}, good[len(good)-19:]...)...), []age.Identity{key}, ""},
		"something new": {append(bytes.Clone(good), 0), []age.Identity{key}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "bad.backup")
			here := t.TempDir()
			plant(t, here, map[string]string{"a": "here"})
			if err := os.WriteFile(bad, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			r := Restore{Trees: []Tree{{Name: "state", Path: here}}, Journal: filepath.Join(t.TempDir(), "journal")}
			if _, err := r.Stage(bad, c.keys...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if _, err := Verify(bad, c.keys...); err == nil {
				t.Error("it passes as sound")
			}
			entries, err := os.ReadDir(here)
			if err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// Whatever the moment of an interruption, going on ends with the new content, and the old one aside.
func TestInterruptedFinish(t *testing.T) {
	key := newKey(t)
	from := t.TempDir()
	plant(t, from, map[string]string{"a": "new", "c/": "", "c/d": "new"})
	file := create(t, []Tree{{Name: "state", Path: from}, {Name: "etc", Path: from, Only: []string{"a"}}}, key.Recipient())
	for _, moves := range []int{0, 1, 2, 3, 4} {
		here, etc := t.TempDir(), t.TempDir()
		plant(t, here, map[string]string{"a": "old", "b": "old"})
		plant(t, etc, map[string]string{"a": "old", "b": "stays"})
		r := Restore{Trees: []Tree{{Name: "state", Path: here}, {Name: "etc", Path: etc, Only: []string{"a"}}}, Journal: filepath.Join(t.TempDir(), "journal")}
		m, err := r.Stage(file, key)
		if err != nil {
			t.Fatal(err)
		}
		interrupt(t, r, m, moves)
		if !r.Begun() {
			t.Fatal("nobody would know of the interruption")
		}
		if _, err := r.Stage(file, key); err == nil || !strings.Contains(err.Error(), "--continue") {
			t.Errorf("another restore was begun: %v", err)
		}
		if err := r.Finish(Manifest{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"a": "new", "c/": "", "c/d": "new"}, grown(t, here)); diff != "" {
			t.Errorf("after %d moves: %s", moves, diff)
		}
		if diff := cmp.Diff(map[string]string{"a": "new", "b": "stays"}, grown(t, etc)); diff != "" {
			t.Errorf("after %d moves: %s", moves, diff)
		}
		if diff := cmp.Diff(map[string]string{"a": "old", "b": "old"}, grown(t, filepath.Join(r.work(r.Trees[0]), "old"))); diff != "" {
			t.Errorf("old content after %d moves: %s", moves, diff)
		}
	}
}

// interrupt does what Finish does, up to a number of moves.
func interrupt(t *testing.T, r Restore, m Manifest, moves int) {
	t.Helper()
	j := journal{Trees: m.Trees}
	type move struct{ from, to string }
	var all []move
	list := func(from, to string, takes func(string) bool) {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if takes(e.Name()) {
				all = append(all, move{filepath.Join(from, e.Name()), filepath.Join(to, e.Name())})
			}
		}
	}
	for _, tree := range r.Trees {
		list(tree.Path, filepath.Join(r.work(tree), "old"), tree.takes)
	}
	aside := len(all)
	for _, tree := range r.Trees {
		list(filepath.Join(r.work(tree), "new"), tree.Path, func(string) bool { return true })
	}
	j.Moved = moves >= aside
	if err := r.note(j); err != nil {
		t.Fatal(err)
	}
	for _, m := range all[:moves] {
		if err := errors.Join(os.MkdirAll(filepath.Dir(m.to), 0o700), os.Rename(m.from, m.to)); err != nil {
			t.Fatal(err)
		}
	}
}

// An archive that cannot be finished leaves nothing, and none of the older ones is harmed.
func TestFailedCreate(t *testing.T) {
	dir := t.TempDir()
	refused := errors.New("nextcloud does not stop")
	_, err := Create(t.Context(), dir, Manifest{Created: midnight}, []Tree{{Name: "stacks/nextcloud", Path: dir, Hold: func(context.Context) (string, func(), error) {
		return "", nil, refused
	}}}, newKey(t).Recipient())
	if !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestListAndPrune(t *testing.T) {
	key := newKey(t)
	dir := t.TempDir()
	for _, hours := range []time.Duration{2, 0, 1} {
		if _, err := Create(t.Context(), dir, Manifest{Site: "sae303", Created: midnight.Add(hours * time.Hour)}, nil, key.Recipient()); err != nil {
			t.Fatal(err)
		}
	}
	plant(t, dir, map[string]string{"sae-agent-20260901T030000Z.backup": "damaged", "holiday.jpg": "not ours"})
	all, err := List(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 4 || !sort.SliceIsSorted(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) }) {
		t.Fatalf("listed %+v", all)
	}
	for i, l := range all {
		if sound := i < 3; (l.Manifest != nil) != sound || (l.Problem == "") != sound {
			t.Errorf("archive %d: %+v", i, l)
		}
	}
	if err := Prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	if all, err = Files(dir); err != nil || len(all) != 2 || !all[0].Created.Equal(midnight.Add(2*time.Hour)) {
		t.Errorf("after pruning: %+v, %v", all, err)
	}
	if none, err := List(filepath.Join(dir, "nowhere")); err != nil || len(none) != 0 {
		t.Errorf("a folder that is not there: %v, %v", none, err)
	}
}

func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup.key")
	first, made, err := EnsureKey(file)
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	again, made, err := EnsureKey(file)
	if err != nil || made || again.String() != first.String() {
		t.Errorf("the second time: made %t, %v", made, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("AGE-SECRET-KEY-1MISTYPED"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := EnsureKey(file); err == nil || strings.Contains(err.Error(), "MISTYPED") {
		t.Errorf("a damaged key must be an error that does not quote it: %v", err)
	}
}
