package freepbx

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

const (
	// retryAfter is how long the same extension is left alone after an import that
	// did not work: each import of an existing one removes it for a moment.
	retryAfter = 5 * time.Minute
	// workTime bounds an import and a reload, which are not cut off half way.
	workTime = 10 * time.Minute
	// remindTime is how long the operator is shown what an import has reset.
	remindTime = 24 * time.Hour
	// followTime is how long Asterisk may take to follow a reload.
	followTime = 30 * time.Second
)

// Options say what a Driver works with.
type Options struct {
	System System
	// Accounts reads back the accounts that Asterisk runs with (AMI), by number.
	Accounts func(ctx context.Context) (map[string]pbx.Account, error)
	// Started is when Asterisk was started (AMI). Nil: nobody knows.
	Started func(ctx context.Context) (time.Time, error)
	Record  string // file that remembers what is ours; mode 0600
	Logger  *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Driver reconciles FreePBX's extensions. Its methods may be called from any
// goroutine; one works at a time.
type Driver struct {
	opts     Options
	log      *slog.Logger
	patience time.Duration // with Asterisk's following

	mu    sync.Mutex // guards the following; held for a whole Apply
	tried map[string]attempt
}

// attempt is an import that did not work.
type attempt struct {
	want account
	at   time.Time
	what string // went wrong
}

// result is what was done, and what is left.
type result struct {
	created, updated, deleted []string
	network                   string    // the LAN, made a local network of Asterisk's
	waiting                   []string  // extensions of ours whose removal is not allowed yet
	problems                  []problem // extensions that are not as they should be
}

func (r result) changed() bool {
	return len(r.created)+len(r.updated)+len(r.deleted) > 0 || r.network != ""
}

// New returns a driver.
func New(o Options) *Driver {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Driver{opts: o, log: o.Logger, patience: followTime, tried: make(map[string]attempt)}
}

// Plan implements pbx.Driver.
func (d *Driver) Plan(ctx context.Context, want pbx.Desired) ([]pbx.Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.work(want)
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	c := compare(w.want, w.found, w.rec)
	r := result{created: c.create, updated: c.update, deleted: c.remove, problems: c.problems}
	if want.KeepRemoved {
		r.deleted, r.waiting = nil, c.remove
	}
	return w.changes(r)
}

// Apply implements pbx.Driver. What is missing is created, and what has another
// name or secret is changed, with everything else that an admin has set. Extensions
// that the agent created and that are not wanted any more are removed; one that an
// admin made never is. Nothing is written, and nothing reloaded, when nothing
// differs.
func (d *Driver) Apply(ctx context.Context, want pbx.Desired) ([]pbx.Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.work(want)
	if err := w.read(ctx); err != nil { // without FreePBX, nothing is ours to write
		return nil, err
	}
	changed, err := d.putFiles(ctx, want)
	if err != nil {
		return changed, err
	}
	err = errors.Join(w.localNetwork(ctx, want.LAN), w.do(ctx, !want.KeepRemoved))
	changes, problems := w.changes(w.result)
	return append(changed, changes...), errors.Join(err, problems)
}

// putFiles writes what the manager interface and the gateway need.
func (d *Driver) putFiles(ctx context.Context, want pbx.Desired) (out []pbx.Change, err error) {
	for _, f := range files(want) {
		changed, err := d.opts.System.Put(ctx, f)
		if changed {
			out = append(out, pbx.Change{Op: pbx.Modify, What: f.Name})
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// work begins a Plan or an Apply. The gateway's account is an extension too.
func (d *Driver) work(want pbx.Desired) *work {
	w := &work{Driver: d, want: make(map[string]account, len(want.Extensions)+1)}
	for _, e := range want.Extensions {
		w.want[e.Number] = account{Extension: e}
	}
	if g := want.Gateway; g != nil {
		w.want[g.Number] = account{Extension: g.Extension, context: gatewayContext}
	}
	return w
}
