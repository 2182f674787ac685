package freepbx

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// work is one Apply.
type work struct {
	*Driver
	want   map[string]account
	found  map[string]Found
	rec    state
	before map[string]Found
	result result
	reload time.Time // when it was begun; zero: there was none
}

// changes puts a result into the words of package pbx.
func (w *work) changes(r result) (changes []pbx.Change, err error) {
	add := func(op pbx.Op, waits bool, numbers []string) {
		for _, n := range numbers {
			c := pbx.Change{Op: op, What: "extension " + n, Waits: waits, Since: w.reload}
			if op == pbx.Modify {
				c.How = strings.Join(differences(w.want[n], w.before[n]), ", ")
			}
			changes = append(changes, c)
		}
	}
	if r.network != "" {
		changes = append(changes, pbx.Change{Op: pbx.Add, What: "local network " + r.network})
	}
	add(pbx.Add, false, r.created)
	add(pbx.Modify, false, r.updated)
	add(pbx.Remove, false, r.deleted)
	add(pbx.Remove, true, r.waiting)
	slices.SortFunc(r.problems, func(a, b problem) int { return strings.Compare(a.number, b.number) })
	errs := make([]error, 0, len(r.problems))
	for _, p := range r.problems {
		errs = append(errs, p)
	}
	return changes, errors.Join(errs...)
}

// read reads what there is, and which of it is ours.
func (w *work) read(ctx context.Context) (err error) {
	if w.rec, err = loadState(w.opts.Record); err != nil {
		return err
	}
	if w.found, err = w.opts.System.Extensions(ctx); err != nil {
		return fmt.Errorf("freepbx: read the extensions: %w", err)
	}
	w.before = w.found
	return nil
}

// do reconciles what read has found.
func (w *work) do(ctx context.Context, mayDelete bool) error {
	if w.rec.settle(w.found) {
		if err := w.rec.save(w.opts.Record); err != nil {
			return err
		}
	}
	c := compare(w.want, w.found, w.rec)
	w.result.problems = c.problems
	w.remind(slices.Concat(c.create, c.update))
	c.create, c.update = w.due(c.create), w.due(c.update)
	if len(c.create)+len(c.update) > 0 {
		// FreePBX writes into Asterisk's database too, and stops half way when it cannot.
		if _, err := w.accounts(ctx); err != nil {
			return fmt.Errorf("nothing is changed: %w", err)
		}
	}
	// From here on a daemon that gets SIGTERM finishes what it has begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTime)
	defer cancel()
	if err := errors.Join(w.create(ctx, c.create), w.update(ctx, c.update), w.remove(ctx, c.remove, mayDelete)); err != nil {
		return errors.Join(err, w.follow(ctx))
	}
	return w.follow(ctx)
}

const repairByHand = "look at it in FreePBX's web interface"

// remind tells for a day what an import has reset of extensions that are as the file
// says otherwise.
func (w *work) remind(others []string) {
	for _, n := range sorted(w.tried) {
		a := w.tried[n]
		switch {
		case slices.Contains(others, n):
		case a.want != w.want[n] || w.opts.Now().Sub(a.at) > remindTime:
			delete(w.tried, n)
		default:
			w.problem(n, a.what, repairByHand)
		}
	}
}

// due leaves out what did not work a moment ago.
func (w *work) due(numbers []string) (out []string) {
	for _, n := range numbers {
		if a, ok := w.tried[n]; ok && a.want == w.want[n] && w.opts.Now().Sub(a.at) < retryAfter {
			w.problem(n, a.what, "it is tried again by itself within "+retryAfter.String())
			continue
		}
		out = append(out, n)
	}
	return out
}

func (w *work) problem(number, what, fix string) {
	w.result.problems = append(w.result.problems, problem{number, what, fix})
}

// create makes the extensions that are missing.
func (w *work) create(ctx context.Context, numbers []string) error {
	if len(numbers) == 0 {
		return nil
	}
	rows := make(map[string]Columns, len(numbers))
	for _, n := range numbers {
		rows[n] = newColumns(w.want[n], newPIN())
		w.rec.Creating[n] = digest(w.want[n].Secret.Reveal())
	}
	w.rec.Reload = true
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	if err := w.importRows(ctx, rows, false, nil); err != nil {
		return err
	}
	w.rec.settle(w.found)
	for _, n := range numbers {
		if w.rec.Created[n] {
			w.result.created = append(w.result.created, n)
		}
	}
	return w.rec.save(w.opts.Record)
}

// update replaces extensions, with everything that an admin has set.
func (w *work) update(ctx context.Context, numbers []string) error {
	if len(numbers) == 0 {
		return nil
	}
	extras, err := w.opts.System.Extras(ctx)
	if err != nil {
		return fmt.Errorf("freepbx: read mailboxes and Asterisk's database: %w", err)
	}
	rows := w.replacements(numbers, extras)
	if len(rows) == 0 {
		return nil
	}
	w.rec.Reload = true
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	if err := w.importRows(ctx, rows, true, w.opts.System.Extras); err != nil {
		return err
	}
	for n := range rows {
		if _, failed := w.tried[n]; !failed {
			w.result.updated = append(w.result.updated, n)
		}
		if w.found[n].whole() {
			delete(w.rec.Carried, n)
		}
	}
	slices.Sort(w.result.updated)
	w.rec.settle(w.found)
	return w.rec.save(w.opts.Record)
}

// replacements are the columns of extensions that are to be replaced, by number.
// What was there before is noted in the record.
func (w *work) replacements(numbers []string, extras Extras) map[string]Columns {
	rows := make(map[string]Columns, len(numbers))
	for _, n := range numbers {
		carried := w.rec.Carried[n]
		if carried == nil && w.found[n].whole() {
			var err error
			if carried, err = carry(w.found[n], extras); err != nil {
				w.problem(n, err.Error(), "change name and secret in FreePBX's web interface, or reset that setting there")
				continue
			}
		}
		want, wanted := w.want[n]
		row := newColumns(want, newPIN())
		switch {
		case carried != nil && wanted:
			row = changedColumns(carried, want, newPIN())
		case carried != nil:
			row = carried // it is not in the file any more: as it was
		}
		if column := notImportable(row); column != "" {
			w.problem(n, "its "+column+" "+errNotCarried.Error(), "change it in FreePBX's web interface")
			continue
		}
		if carried != nil {
			w.rec.Carried[n] = carried
		}
		rows[n] = row
	}
	return rows
}

func notImportable(row Columns) string {
	for _, column := range sorted(row) {
		if importable(row[column]) != nil {
			return column
		}
	}
	return ""
}

// importRows imports rows and reads back what became of them. Extras are read back too
// when they are given.
func (w *work) importRows(ctx context.Context, rows map[string]Columns, replace bool, readExtras func(context.Context) (Extras, error)) error {
	list := make([]Columns, 0, len(rows))
	for _, n := range sorted(rows) {
		list = append(list, rows[n])
	}
	before, printed := w.found, []string{}
	for _, file := range batches(list) {
		output, err := w.opts.System.Import(ctx, file, replace)
		if err != nil { // what it did before is found by reading back
			w.log.Warn("FreePBX's import says that it failed", "err", err)
		}
		printed = append(printed, output)
	}
	var err error
	if w.found, err = w.opts.System.Extensions(ctx); err != nil {
		return fmt.Errorf("freepbx: read back what was imported: %w", err)
	}
	var extras *Extras
	if readExtras != nil {
		x, err := readExtras(ctx)
		if err != nil {
			return fmt.Errorf("freepbx: read back what was imported: %w", err)
		}
		extras = &x
	}
	for _, n := range sorted(rows) {
		w.judge(n, slices.Concat(missed(rows[n], w.found[n], extras), gone(before[n], w.found[n])), rows[n], printed)
	}
	return nil
}

// judge notes whether the import of one extension has worked.
func (w *work) judge(number string, missed []string, row Columns, printed []string) {
	if len(missed) == 0 {
		delete(w.tried, number)
		return
	}
	what := "is not as FreePBX was told: " + strings.Join(missed, "; ")
	w.tried[number] = attempt{w.want[number], w.opts.Now(), what}
	w.problem(number, what, repairByHand)
	w.log.Error("FreePBX did not take an extension as it was told", "extension", number, "missed", missed, "printed", row.hide(strings.Join(printed, "\n")))
}

// remove deletes extensions of ours.
func (w *work) remove(ctx context.Context, numbers []string, mayDelete bool) error {
	if !mayDelete {
		w.result.waiting = numbers
		return nil
	}
	if len(numbers) == 0 {
		return nil
	}
	w.rec.Reload = true
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	failed := make(map[string]error)
	for _, n := range numbers {
		failed[n] = w.opts.System.Delete(ctx, n)
	}
	var err error
	if w.found, err = w.opts.System.Extensions(ctx); err != nil {
		return fmt.Errorf("freepbx: read back what was deleted: %w", err)
	}
	for _, n := range numbers {
		if _, still := w.found[n]; !still {
			w.result.deleted = append(w.result.deleted, n)
			continue
		}
		what := "is still there after it was deleted"
		if failed[n] != nil {
			what = "could not be deleted: " + failed[n].Error()
		}
		w.problem(n, what, "delete it in FreePBX's web interface")
	}
	w.rec.settle(w.found)
	return w.rec.save(w.opts.Record)
}

// newPIN is a mailbox's first password, six digits.
func newPIN() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(b[:])%1_000_000)
}
