package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/sae-agent/sae-agent/agent/durable"
)

// workPrefix begins the names of folders in which a tree is given back. They are
// in the tree's own folder, so that moving from there is a rename, and they are
// part of no tree.
const workPrefix = ".restore-"

// Restore gives an archive's trees back in two steps: Stage unpacks all of it
// beside what is there, Finish moves what is there aside and the new in its place.
//
// A power cut loses nothing: before Finish has begun nothing is changed; from then
// on its journal says how far it is, and Finish goes on from there. What it moved
// aside is kept in each folder under .restore-TREE/old until the next Restore.
type Restore struct {
	// Trees that can be given back. Those of the archive that are not here are left out.
	Trees []Tree
	// Journal is a file that exists while Finish has begun and not ended.
	Journal string
	// Omit names entries, such as state/configs, that are not given back, with all that
	// is below them. What is in their place goes aside as everything else does.
	Omit []string
	// Accept, when set, looks at what was unpacked of a tree, in dir, before anything is changed. An error refuses the archive.
	Accept func(tree, dir string) error
}

// journal says how far Finish is.
type journal struct {
	Trees []string `json:"trees"` // that are given back
	Moved bool     `json:"moved"` // everything old is aside
}

func (r Restore) work(t Tree) string {
	return filepath.Join(t.Path, workPrefix+strings.ReplaceAll(t.Name, "/", "-"))
}

// Begun reports whether Finish was interrupted.
func (r Restore) Begun() bool {
	_, err := os.Lstat(r.Journal)
	return err == nil
}

// Stage unpacks an archive beside what is there, whole, and returns its manifest.
// After an error nothing is left of it.
func (r Restore) Stage(file string, keys ...age.Identity) (Manifest, error) {
	if r.Begun() {
		return Manifest{}, errors.New("backup: an earlier restore was interrupted: finish it first with 'sae-agent backup restore --continue'")
	}
	a, err := open(file, keys...)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	defer a.close()
	if err := r.stage(a); err != nil {
		for _, t := range r.Trees {
			_ = os.RemoveAll(r.work(t))
		}
		return Manifest{}, fmt.Errorf("backup: nothing was changed: unpack %s: %w", file, err)
	}
	return a.Manifest, nil
}

func (r Restore) stage(a *archive) error {
	unpackers := make(map[string]*unpacker)
	defer func() {
		for _, u := range unpackers {
			u.close()
		}
	}()
	for _, t := range r.in(a.Trees) {
		u, err := newUnpacker(r.work(t), t)
		if err != nil {
			return err
		}
		unpackers[t.Name] = u
	}
	for {
		tree, rel, h, err := a.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		u, wanted := unpackers[tree]
		if !wanted || r.omits(h.Name) {
			continue
		}
		if err := u.unpack(rel, h, a.tar); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	for name, u := range unpackers {
		err := u.finish()
		if err == nil && r.Accept != nil {
			err = r.Accept(name, u.root.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// omits reports whether an entry of the archive is not given back.
func (r Restore) omits(name string) bool {
	return slices.ContainsFunc(r.Omit, func(o string) bool { return strings.HasPrefix(name+"/", o+"/") })
}

// in returns the trees that have one of the names.
func (r Restore) in(names []string) (out []Tree) {
	for _, t := range r.Trees {
		if slices.Contains(names, t.Name) {
			out = append(out, t)
		}
	}
	return out
}

// Finish puts what Stage has unpacked in its place, or goes on with it after an
// interruption. Whatever uses the folders MUST stand still.
func (r Restore) Finish(m Manifest) error {
	j := journal{Trees: m.Trees}
	if r.Begun() {
		data, err := os.ReadFile(r.Journal)
		if err == nil {
			err = json.Unmarshal(data, &j)
		}
		if err != nil {
			return fmt.Errorf("backup: read %s: %w", r.Journal, err)
		}
	} else if err := r.note(j); err != nil {
		return err
	}
	if err := r.place(&j); err != nil {
		return fmt.Errorf("backup: half restored, mend this and finish with 'sae-agent backup restore --continue': %w", err)
	}
	if err := os.Remove(r.Journal); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return durable.SyncDir(filepath.Dir(r.Journal))
}

func (r Restore) note(j journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := durable.WriteFile(r.Journal, data, 0o600); err != nil {
		return fmt.Errorf("backup: note the restore: %w", err)
	}
	return nil
}

// place moves everything old aside, then everything new in its place. While the
// first is going on what a tree takes is old, and afterwards it is new.
func (r Restore) place(j *journal) error {
	trees := r.in(j.Trees)
	if !j.Moved {
		for _, t := range trees {
			if err := moveAll(t.Path, filepath.Join(r.work(t), "old"), t.takes); err != nil {
				return err
			}
		}
		j.Moved = true
		if err := r.note(*j); err != nil {
			return err
		}
	}
	everything := func(string) bool { return true }
	for _, t := range trees {
		if err := moveAll(filepath.Join(r.work(t), "new"), t.Path, everything); err != nil {
			return err
		}
	}
	return nil
}

// moveAll moves entries of one folder into another. Done again it goes on.
func moveAll(from, to string, takes func(string) bool) error {
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !takes(e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return durable.SyncDir(to)
}
