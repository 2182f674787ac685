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
	h, err := Open(dir, t.TempDir())
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
	h, err = Open(dir, t.TempDir())
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
	h, err := Open(dir, t.TempDir())
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
	h, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add([]byte("lost"), time.Unix(0, 0)); err == nil {
		t.Fatal("Add() into a directory that is gone succeeded")
	}
	if h, err = Open(dir, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Current(); !errors.Is(err, ErrEmpty) {
		t.Errorf("Current() after a failed Add: %v", err)
	}
}

// open returns a history with one confirmed configuration.
func open(t *testing.T) *History {
	t.Helper()
	h, err := Open(filepath.Join(t.TempDir(), "configs"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add([]byte("good"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return h
}

func try(t *testing.T, h *History) {
	t.Helper()
	if _, err := h.AddPending([]byte("tried"), time.Unix(60, 0), time.Unix(180, 0)); err != nil {
		t.Fatal(err)
	}
}

func wantCurrent(t *testing.T, h *History, want string, pending bool) {
	t.Helper()
	_, data, err := h.Current()
	if err != nil || string(data) != want {
		t.Errorf("current: %q, %v, want %q", data, err, want)
	}
	p, err := h.Pending()
	if err != nil || (p != nil) != pending {
		t.Errorf("pending: %+v, %v, want %v", p, err, pending)
	}
}

func TestProbation(t *testing.T) {
	t.Run("confirmed", func(t *testing.T) {
		h := open(t)
		try(t, h)
		wantCurrent(t, h, "tried", true)
		if err := h.Confirm(); err != nil {
			t.Fatal(err)
		}
		wantCurrent(t, h, "tried", false)
		if undone, err := h.Undo(); undone || err != nil {
			t.Errorf("undone what was confirmed: %v, %v", undone, err)
		}
	})
	t.Run("undone", func(t *testing.T) {
		h := open(t)
		try(t, h)
		if undone, err := h.Undo(); !undone || err != nil {
			t.Fatal(undone, err)
		}
		wantCurrent(t, h, "good", false)
		if all, err := h.List(); len(all) != 1 || err != nil {
			t.Errorf("what was undone is kept: %v, %v", all, err)
		}
	})
	t.Run("same boot", func(t *testing.T) {
		h := open(t)
		try(t, h)
		if undone, err := h.UndoOverdue(time.Unix(179, 0)); undone || err != nil {
			t.Error(undone, err)
		}
		wantCurrent(t, h, "tried", true)
		if undone, err := h.UndoOverdue(time.Unix(180, 0)); !undone || err != nil {
			t.Error(undone, err)
		}
		wantCurrent(t, h, "good", false)
	})
	t.Run("next boot", func(t *testing.T) {
		h := open(t)
		try(t, h)
		if err := os.Remove(filepath.Join(h.runDir, markName)); err != nil {
			t.Fatal(err)
		}
		if undone, err := h.UndoOverdue(time.Unix(0, 0)); !undone || err != nil {
			t.Error(undone, err)
		}
		wantCurrent(t, h, "good", false)
	})
}

// A power cut can come between any two files.
func TestProbationSurvivesACrash(t *testing.T) {
	t.Run("before the entry", func(t *testing.T) {
		h := open(t)
		try(t, h)
		e, err := h.Find(2)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(e.path); err != nil {
			t.Fatal(err)
		}
		wantCurrent(t, h, "good", false)
		try(t, h)
		wantCurrent(t, h, "tried", true)
	})
	t.Run("damaged", func(t *testing.T) {
		h := open(t)
		try(t, h)
		if err := os.WriteFile(h.pendingPath(), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Pending(); err == nil {
			t.Error("a damaged file says nothing")
		}
	})
}

func TestFind(t *testing.T) {
	h := open(t)
	if _, err := h.Find(7); !errors.Is(err, ErrNotKept) {
		t.Errorf("got %v", err)
	}
	e, err := h.Find(1)
	if err != nil || e.Seq != 1 {
		t.Errorf("got %+v, %v", e, err)
	}
}
