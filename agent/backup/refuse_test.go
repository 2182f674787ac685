package backup

import (
	"archive/tar"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// forge makes an archive as somebody does who has the public key.
func forge(t *testing.T, to age.Recipient, trees []string, entries ...tar.Header) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "forged.backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := age.Encrypt(f, to)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := zstd.NewWriter(sealed)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(packed)
	if err := writeManifest(tw, Manifest{Format: format, Trees: trees}); err != nil {
		t.Fatal(err)
	}
	for _, h := range entries {
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{tw, packed, sealed, f} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// An archive with what no backup holds is refused before anything is changed.
func TestForgedArchives(t *testing.T) {
	key := newKey(t)
	for name, c := range map[string]struct {
		entry   tar.Header
		foreign bool
		want    string // of the error; empty: it is taken
	}{
		"a file":                        {tar.Header{Name: "config/config.yaml", Typeflag: tar.TypeReg, Mode: 0o640}, false, ""},
		"a folder":                      {tar.Header{Name: "config/a.yaml/", Typeflag: tar.TypeDir, Mode: 0o2750}, false, ""},
		"a link within":                 {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeSymlink, Linkname: "b.yaml"}, false, ""},
		"set-user-ID":                   {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeReg, Mode: 0o4755}, false, "mode"},
		"set-group-ID":                  {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeReg, Mode: 0o2755}, false, "mode"},
		"set-user-ID of others":         {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeReg, Mode: 0o4755}, true, "mode"},
		"written by everybody":          {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeReg, Mode: 0o646}, false, "mode"},
		"a folder written by everybody": {tar.Header{Name: "config/a.yaml/", Typeflag: tar.TypeDir, Mode: 0o777}, false, "mode"},
		"a name of no part":             {tar.Header{Name: "config/cron.hourly", Typeflag: tar.TypeReg, Mode: 0o644}, false, "no part"},
		"below a name of no part":       {tar.Header{Name: "config/sub/a.yaml", Typeflag: tar.TypeReg, Mode: 0o644}, false, "no part"},
		"a work folder":                 {tar.Header{Name: "config/.restore-config/a.yaml", Typeflag: tar.TypeReg, Mode: 0o644}, false, "no part"},
		"a way up":                      {tar.Header{Name: "config/a.yaml/../../x", Typeflag: tar.TypeReg, Mode: 0o644}, false, "no part"},
		"an absolute link":              {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, false, "leads out"},
		"a link up":                     {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeSymlink, Linkname: "../shadow"}, false, "leads out"},
		"a link of others":              {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeSymlink, Linkname: "/var/www/a.yaml"}, true, ""},
		"a hard link":                   {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeLink, Linkname: "config/config.yaml"}, false, "does not belong"},
		"a device":                      {tar.Header{Name: "config/a.yaml", Typeflag: tar.TypeBlock, Mode: 0o600}, false, "does not belong"},
	} {
		t.Run(name, func(t *testing.T) {
			here := t.TempDir()
			plant(t, here, map[string]string{"config.yaml": "here"})
			r := Restore{
				Trees:   []Tree{{Name: "config", Path: here, Only: []string{"*.yaml"}, Numeric: true, Foreign: c.foreign}},
				Journal: filepath.Join(t.TempDir(), "journal"),
			}
			_, err := r.Stage(forge(t, key.Recipient(), []string{"config"}, c.entry), key)
			if c.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if entries, err := os.ReadDir(here); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// What Create makes can be given back, whatever modes there were.
func TestModesThatAreNotKept(t *testing.T) {
	key := newKey(t)
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, map[string]string{"file": "x", "folder/": "", "group/": "", "tmp/": ""})
	for name, mode := range map[string]os.FileMode{
		"file": 0o777 | os.ModeSetuid | os.ModeSetgid, "folder": 0o777, "group": 0o770 | os.ModeSetgid, "tmp": 0o777 | os.ModeSticky,
	} {
		if err := os.Chmod(filepath.Join(from, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	file := create(t, []Tree{{Name: "state", Path: from}}, key.Recipient())
	r := Restore{Trees: []Tree{{Name: "state", Path: to}}, Journal: filepath.Join(t.TempDir(), "journal")}
	m, err := r.Stage(file, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"file": 0o775, "folder": 0o775 | os.ModeDir, "group": 0o770 | os.ModeDir | os.ModeSetgid, "tmp": 0o777 | os.ModeDir | os.ModeSticky,
	} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// An account has another number on another machine: its name counts, but for the
// files of containers, whose accounts this machine does not know.
func TestOwnersOfAnotherMachine(t *testing.T) {
	key := newKey(t)
	entry := tar.Header{Name: "state/file", Typeflag: tar.TypeReg, Mode: 0o640, Uname: "daemon", Uid: 4242, Gname: "daemon", Gid: 4343}
	unknown := tar.Header{Name: "state/other", Typeflag: tar.TypeReg, Mode: 0o640, Uname: "nobody-here", Uid: 4242, Gname: "nobody-here", Gid: 4343}
	daemon, err := user.Lookup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		numeric     bool
		file, other string
	}{{false, daemon.Uid + ":" + daemon.Gid, "4242:4343"}, {true, "4242:4343", "4242:4343"}} {
		to := t.TempDir()
		r := Restore{Trees: []Tree{{Name: "state", Path: to, Numeric: tt.numeric}}, Journal: filepath.Join(t.TempDir(), "journal")}
		m, err := r.Stage(forge(t, key.Recipient(), []string{"state"}, entry, unknown), key)
		if err == nil {
			err = r.Finish(m)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"file": tt.file, "other": tt.other} {
			var st syscall.Stat_t
			if err := syscall.Stat(filepath.Join(to, name), &st); err != nil || fmt.Sprintf("%d:%d", st.Uid, st.Gid) != want {
				t.Errorf("numeric %t: %s is of %d:%d, want %s; %v", tt.numeric, name, st.Uid, st.Gid, want, err)
			}
		}
	}
}
