package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileReplacesOrLeavesAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"old", "new"} {
		if err := WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("file is %q, %v; want %q", got, err, want)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	// A directory cannot be replaced by a file: the error must leave nothing behind.
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(sub, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestReadJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	value := map[string]int{"kept": 1}
	if found, err := ReadJSON(path, &value); found || err != nil || value["kept"] != 1 {
		t.Errorf("no file: %v, %v, %v", found, err, value)
	}
	for text, ok := range map[string]bool{`{"a": 2}`: true, `{"a"`: false, "": false} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := ReadJSON(path, &value); !found || (err == nil) != ok {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
	if value["a"] != 2 {
		t.Errorf("%v", value)
	}
	if found, err := ReadJSON(filepath.Dir(path), &value); found || err == nil {
		t.Errorf("a folder: %v, %v", found, err)
	}
}
