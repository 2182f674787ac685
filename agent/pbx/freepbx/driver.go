package freepbx

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// retryAfter is how long the same extension is left alone after an import that
	// did not work: each import of an existing one removes it for a moment.
	retryAfter = 5 * time.Minute
	// workTime bounds an import and a reload, which are not cut off half way.
	workTime = 10 * time.Minute
	// followTime is how long Asterisk may take to follow a reload.
	followTime = 30 * time.Second
)

// Options say what a Driver works with.
type Options struct {
	System System
	// Endpoints lists the endpoints that Asterisk runs with now (AMI, PJSIPShowEndpoints).
	Endpoints func(ctx context.Context) ([]string, error)
	Record    string // file that remembers what is ours; mode 0600
	Logger    *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// Driver brings FreePBX's extensions in line. Its methods may be called from any
// goroutine; one works at a time.
type Driver struct {
	opts Options
	log  *slog.Logger

	mu       sync.Mutex // guards the following; held for a whole Apply
	tried    map[string]attempt
	reloaded time.Time // when Asterisk last failed to follow a reload
}

// attempt is an import that did not work.
type attempt struct {
	want Extension
	at   time.Time
}

// Result is what an Apply did and what it left.
type Result struct {
	Created, Updated, Deleted []string
	Waiting                   []string  // extensions of ours whose removal is not allowed yet
	Problems                  []Problem // extensions that are not as they should be
}

// Changed reports whether anything was done.
func (r Result) Changed() bool { return len(r.Created)+len(r.Updated)+len(r.Deleted) > 0 }

// New returns a driver.
func New(o Options) *Driver {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Driver{opts: o, log: o.Logger, tried: make(map[string]attempt)}
}

// Apply makes FreePBX's extensions those of want: what is missing is created, what
// has another name or secret is changed. Extensions that the agent created and that
// are not in want any more are removed if mayDelete says so; an extension that an
// admin made never is. Nothing is written, and nothing reloaded, when nothing
// differs. The error is about FreePBX as a whole: what is wrong with one extension is
// in the result.
func (d *Driver) Apply(ctx context.Context, want []Extension, mayDelete bool) (Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &work{Driver: d, want: make(map[string]Extension, len(want))}
	for _, e := range want {
		w.want[e.Number] = e
	}
	err := w.do(ctx, mayDelete)
	slices.SortFunc(w.result.Problems, func(a, b Problem) int { return strings.Compare(a.Number, b.Number) })
	return w.result, err
}

// work is one Apply.
type work struct {
	*Driver
	want   map[string]Extension
	found  map[string]Found
	rec    state
	result Result
}

func (w *work) do(ctx context.Context, mayDelete bool) error {
	var err error
	if w.rec, err = loadState(w.opts.Record); err != nil {
		return err
	}
	if w.found, err = w.opts.System.Extensions(ctx); err != nil {
		return fmt.Errorf("freepbx: read the extensions: %w", err)
	}
	if w.rec.settle(w.found) {
		if err := w.rec.save(w.opts.Record); err != nil {
			return err
		}
	}
	c := compare(w.want, w.found, w.rec)
	w.result.Problems = c.problems
	c.create, c.update = w.due(c.create), w.due(c.update)
	if len(c.create)+len(c.update) > 0 {
		// FreePBX writes into Asterisk's database too, and stops half way when it cannot.
		if _, err := w.opts.Endpoints(ctx); err != nil {
			return fmt.Errorf("freepbx: nothing is changed while Asterisk does not answer: %w", err)
		}
	}
	// From here on a daemon that is told to stop finishes what it has begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTime)
	defer cancel()
	if err := errors.Join(w.create(ctx, c.create), w.update(ctx, c.update), w.remove(ctx, c.remove, mayDelete)); err != nil {
		return errors.Join(err, w.follow(ctx))
	}
	return w.follow(ctx)
}

// due leaves out what did not work a moment ago.
func (w *work) due(numbers []string) (out []string) {
	for _, n := range numbers {
		if a, ok := w.tried[n]; ok && a.want == w.want[n] && w.opts.Now().Sub(a.at) < retryAfter {
			w.problem(n, "could not be brought in line, see the log", "it is tried again by itself within "+retryAfter.String())
			continue
		}
		out = append(out, n)
	}
	return out
}

func (w *work) problem(number, what, fix string) {
	w.result.Problems = append(w.result.Problems, Problem{number, what, fix})
}

// create makes the extensions that are missing.
func (w *work) create(ctx context.Context, numbers []string) error {
	if len(numbers) == 0 {
		return nil
	}
	rows := make(map[string]Columns, len(numbers))
	for _, n := range numbers {
		rows[n] = newColumns(w.want[n], newPIN())
		w.rec.Creating[n] = digest(w.want[n].Secret)
	}
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	if err := w.bring(ctx, rows, false, nil); err != nil {
		return err
	}
	w.rec.settle(w.found)
	for _, n := range numbers {
		if w.rec.Created[n] {
			w.result.Created = append(w.result.Created, n)
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
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	if err := w.bring(ctx, rows, true, w.opts.System.Extras); err != nil {
		return err
	}
	for n := range rows {
		if _, failed := w.tried[n]; !failed {
			w.result.Updated = append(w.result.Updated, n)
		}
		if w.found[n].whole() {
			delete(w.rec.Carried, n)
		}
	}
	slices.Sort(w.result.Updated)
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

// bring imports rows and reads back what became of them. Extras are read back too
// when they are given.
func (w *work) bring(ctx context.Context, rows map[string]Columns, replace bool, readExtras func(context.Context) (Extras, error)) error {
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
	w.tried[number] = attempt{w.want[number], w.opts.Now()}
	w.problem(number, "FreePBX did not take it as it was told: "+strings.Join(missed, "; "), "look at it in FreePBX's web interface")
	w.log.Error("FreePBX did not take an extension as it was told", "extension", number, "missed", missed, "printed", row.hide(strings.Join(printed, "\n")))
}

// remove deletes extensions of ours.
func (w *work) remove(ctx context.Context, numbers []string, mayDelete bool) error {
	if !mayDelete {
		w.result.Waiting = numbers
		return nil
	}
	if len(numbers) == 0 {
		return nil
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
			w.result.Deleted = append(w.result.Deleted, n)
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

// follow has Asterisk run with what FreePBX has: after a change, and when an earlier
// reload was lost.
func (w *work) follow(ctx context.Context) error {
	if !w.result.Changed() {
		behind, err := w.behind(ctx)
		switch {
		case err != nil || len(behind) == 0:
			return err
		case w.opts.Now().Sub(w.reloaded) < retryAfter:
			return behindError(behind)
		}
		w.log.Warn("Asterisk does not run with what FreePBX has, reloading", "extensions", behind)
	}
	output, err := w.opts.System.Reload(ctx)
	if err != nil { // whether it worked is what Asterisk says
		w.log.Warn("FreePBX's reload says that it failed", "err", err, "printed", output)
	}
	behind, err := w.inLine(ctx)
	if err != nil || len(behind) == 0 {
		return err
	}
	w.reloaded = w.opts.Now()
	return behindError(behind)
}

// inLine waits until Asterisk runs with what FreePBX has. It returns who is behind.
func (w *work) inLine(ctx context.Context) (behind []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	tick := time.NewTicker(followTime / 100)
	defer tick.Stop()
	for {
		if behind, err = w.behind(ctx); err != nil || len(behind) == 0 {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return behind, nil
		case <-tick.C:
		}
	}
}

func behindError(numbers []string) error {
	return fmt.Errorf("freepbx: Asterisk does not run with %s as FreePBX has them: 'fwconsole reload' says why", strings.Join(numbers, ", "))
}

// behind lists the extensions that Asterisk lacks, or still has.
func (w *work) behind(ctx context.Context) (out []string, err error) {
	endpoints, err := w.opts.Endpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("freepbx: ask Asterisk for its endpoints: %w", err)
	}
	for _, n := range sorted(w.want) {
		if w.found[n].whole() && w.found[n].Device["tech"] == "pjsip" && !slices.Contains(endpoints, n) {
			out = append(out, n)
		}
	}
	for _, n := range w.result.Deleted {
		if slices.Contains(endpoints, n) {
			out = append(out, n)
		}
	}
	return out, nil
}
