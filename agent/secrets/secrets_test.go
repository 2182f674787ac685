package secrets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPasswordsAreMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Ensure("extension/100", "extension/101")
	if err != nil {
		t.Fatal(err)
	}
	if first["extension/100"] == first["extension/101"] || len(first["extension/100"]) < 20 {
		t.Errorf("passwords: %v", first)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	again, err := s.Ensure("extension/101", "phone-admin")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"extension/101": first["extension/101"], "phone-admin": again["phone-admin"]}
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("after a restart (-want +got):\n%s", d)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestDamagedFileIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.json")
	if err := os.WriteFile(path, []byte(`{"extension/100": "abc`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("Open() of a damaged file: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != `{"extension/100": "abc` {
		t.Errorf("the damaged file became %q, %v", data, err)
	}
}

func TestPasswordThatCannotBeKeptIsNotGiven(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	s, err := Open(filepath.Join(dir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Ensure("extension/100"); err == nil {
		t.Errorf("Ensure() = %v without a disk", got)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure("extension/100"); err != nil {
		t.Errorf("Ensure() after the disk came back: %v", err)
	}
}

func TestRenewedAllOrNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets.json")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"extension/100", "extension/101", "extension/102"}
	first, err := s.Ensure(names...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(names[:2]...); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	second := s.Lookup(names...)
	if second[names[0]] == first[names[0]] || second[names[1]] == first[names[1]] || second[names[2]] != first[names[2]] {
		t.Errorf("%v became %v", first, second)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(names...); err == nil {
		t.Error("renewed without a disk")
	}
	if d := cmp.Diff(second, s.Lookup(names...)); d != "" {
		t.Errorf("changed although it could not be kept:\n%s", d)
	}
}
