package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNewestIsCurrentAndTenAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "configs")
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Current(); !errors.Is(err, ErrEmpty) {
		t.Errorf("Current() of an empty history: %v", err)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 13 {
		if _, err := h.Add(fmt.Appendf(nil, "config %d", i), start.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	// Reading needs no daemon: a second handle sees the same.
	h, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e, data, err := h.Current()
	if err != nil || string(data) != "config 12" || e.Seq != 13 || !e.AppliedAt.Equal(start.Add(12*time.Minute)) {
		t.Errorf("Current() = %+v, %q, %v", e, data, err)
	}
	all, err := h.List()
	if err != nil || len(all) != Keep || all[0].Seq != 4 {
		t.Errorf("List() = %+v, %v", all, err)
	}
	fi, err := os.Stat(e.path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: a configuration holds secrets", fi.Mode(), err)
	}
}

func TestForeignAndHalfWrittenFilesAreIgnored(t *testing.T) {
	dir := t.TempDir()
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add([]byte("good"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes.yaml", "000009-nonsense.yaml", ".000009-19700101T000000Z.yaml123", "-1-19700101T000000Z.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("bad"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, data, err := h.Current(); err != nil || string(data) != "good" {
		t.Errorf("Current() = %q, %v", data, err)
	}
}

func TestFailedAddLeavesTheHistoryAsItWas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "configs")
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add([]byte("lost"), time.Unix(0, 0)); err == nil {
		t.Fatal("Add() into a directory that is gone succeeded")
	}
	if h, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Current(); !errors.Is(err, ErrEmpty) {
		t.Errorf("Current() after a failed Add: %v", err)
	}
}
