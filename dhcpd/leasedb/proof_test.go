package leasedb

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// The child that walks the file is most of a start: it is left out for a file that was closed properly, once, and for
// no other.
func TestProof(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	walked := 0
	opts := Options{Verify: func(context.Context, string) error { walked++; return nil }}
	open := func() *DB {
		t.Helper()
		db, err := Open(t.Context(), path, opts)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	expect := func(what string, want int) {
		t.Helper()
		if walked != want {
			t.Errorf("%s: walked %d times, want %d", what, walked, want)
		}
		walked = 0
	}
	db := open()
	if err := db.Commit(t.Context(), leases(100, 0)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	expect("closed properly", 0)
	if got := db.Opening().Leases; got != 100 {
		t.Errorf("%d leases", got)
	}
	if _, err := os.Stat(proofOf(path)); err == nil {
		t.Error("the proof counts again after a crash")
	}
	// As after a crash: it is not closed, and nothing was written.
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(proofOf(path)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, copied, fileMode); err != nil {
		t.Fatal(err)
	}
	db = open()
	expect("after a crash", 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// Somebody else has changed a byte that no record holds.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	expect("changed since", 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// A proof of nothing is none.
	for _, text := range []string{"", "x"} {
		if err := os.WriteFile(proofOf(path), []byte(text), fileMode); err != nil {
			t.Fatal(err)
		}
		db = open()
		expect("a proof that says nothing", 1)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
