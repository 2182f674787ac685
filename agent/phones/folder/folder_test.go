package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/tftpd"
)

const (
	phoneFile = "#!version:1.0.0.1\naccount.1.password = geheim\n"
	common    = "#!version:1.0.0.1\nlang.gui = French\n"
)

// fill puts files into a directory; content that begins with -> is a link.
func fill(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "->"); link {
			err = errors.Join(err, os.Symlink(target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What a manual set-up leaves is served under no name; the operator's own files are.
func TestOpen(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("# a line of 32 characters, no more\n", 4000)
	hidden := map[string]string{
		"001565aabbcc.cfg": common, "00:15:65:aa:bb:01.cfg": common, "001565-aabb02.cfg": common, " 001565aabb03.cfg": common,
		"001565AABB04.CFG": common, "tidy.cfg": "->001565aabbcc.cfg", "twice.cfg": "->tidy.cfg", "sub/001565aabb05.cfg": common,
		"y000000000116.cfg": common, "alice.txt": phoneFile, "long.cfg": long + phoneFile, "back/up.cfg": phoneFile,
		"hard.cfg": phoneFile, "sub/link.txt": "->../alice.txt",
	}
	served := map[string]string{
		"common.cfg": common, "ring.wav": "RIFF\x00\x00account.1.password = x", "T42U-108.86.0.75.rom": "\x00" + long + long,
		"long.txt": long, "huge.txt": strings.Repeat(long, 10), "picture.jpg": "\xff\xd8\x00" + strings.Repeat("x", 70000), "good.cfg": "->common.cfg", "empty": "",
	}
	fill(t, root, hidden)
	fill(t, root, served)
	f := new(Folder)
	for name := range hidden {
		if file, err := f.Open(t.Context(), root, tftpd.Request{Name: name}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q is served: %v", name, err)
			_ = file.Close()
		}
	}
	for name, want := range served {
		file, err := f.Open(t.Context(), root, tftpd.Request{Name: name})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if target, link := strings.CutPrefix(want, "->"); link {
			want = served[target]
		}
		got, err := io.ReadAll(file)
		if err != nil || string(got) != want || file.Size != int64(len(want)) {
			t.Errorf("%q: %d bytes of %d, want %d, %v", name, len(got), file.Size, len(want), err)
		}
		_ = file.Close()
	}
	var want []string
	for name := range hidden {
		if name != "sub/link.txt" { // what it leads to is listed
			want = append(want, filepath.Join(root, name))
		}
	}
	if diff := cmp.Diff(want, f.Leftovers(root), cmp.Transformer("set", set)); diff != "" {
		t.Errorf("leftovers (-want +got):\n%s", diff)
	}
}

func set(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}

// A file is looked into again when it has changed, and only then.
func TestLeftoversAreRemembered(t *testing.T) {
	root := t.TempDir()
	fill(t, root, map[string]string{"a.cfg": common, "b.cfg": phoneFile})
	f := new(Folder)
	expect := func(want ...string) {
		t.Helper()
		f.at = time.Time{}
		var got []string
		for _, path := range f.Leftovers(root) {
			got = append(got, filepath.Base(path))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect("b.cfg")
	for path := range f.known {
		f.known[path] = verdict{f.known[path].size, f.known[path].modified, true}
	}
	expect("a.cfg", "b.cfg") // not read
	fill(t, root, map[string]string{"a.cfg": common + "#\n"})
	expect("b.cfg")
	if err := os.Remove(filepath.Join(root, "b.cfg")); err != nil {
		t.Fatal(err)
	}
	expect()
	if len(f.Leftovers(filepath.Join(root, "nothing"))) != 0 {
		t.Error("a directory that does not exist has files")
	}
}
