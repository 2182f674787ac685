package freepbx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// follow has Asterisk run with what FreePBX has: after a change, and when an earlier reload has failed or was lost. A
// reload that says that it failed is tried again at the next attempt: FreePBX has the new secrets then, Asterisk and the
// phones have the old ones.
func (w *work) follow(ctx context.Context) error {
	if !w.rec.Reload {
		behind, err := w.behind(ctx)
		if err != nil || len(behind) == 0 {
			return err
		}
		w.log.Warn("Asterisk does not run with what FreePBX has, reloading", "extensions", behind)
	}
	w.reload = w.opts.Now()
	output, err := w.opts.System.Reload(ctx)
	if err != nil {
		w.log.Warn("FreePBX's reload has failed", "err", err, "printed", output)
		return fmt.Errorf("freepbx: Asterisk goes on with what it had, because FreePBX's reload fails: %w: put that right in FreePBX's web interface; it is tried again by itself", err)
	}
	behind, err := w.inLine(ctx)
	if err != nil {
		return err
	}
	if len(behind) > 0 {
		return behindError(behind)
	}
	if w.rec.Reload {
		w.rec.Reload = false
		return w.rec.save(w.opts.Record)
	}
	return nil
}

// inLine waits until Asterisk runs with what FreePBX has. It returns who is behind. Right after a reload the manager
// interface may refuse us once.
func (w *work) inLine(ctx context.Context) (behind []string, err error) {
	enough := time.After(w.patience)
	tick := time.NewTicker(w.patience / 100)
	defer tick.Stop()
	for {
		behind, err = w.behind(ctx)
		if err == nil && len(behind) == 0 || err != nil && !errors.Is(err, pbx.ErrDown) {
			return nil, err
		}
		select {
		case <-enough:
			return behind, err
		case <-tick.C:
		}
	}
}

func behindError(numbers []string) error {
	return fmt.Errorf("freepbx: Asterisk does not run with %s as FreePBX has them: 'fwconsole reload' says why", strings.Join(numbers, ", "))
}

// behind lists the extensions that Asterisk lacks, has with another secret, or still has.
func (w *work) behind(ctx context.Context) (out []string, err error) {
	running, err := w.accounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range sorted(w.want) {
		f := w.found[n]
		if f.whole() && f.Device["tech"] == "pjsip" && !running[n].Takes(pbx.Secret(f.SIP["secret"])) {
			out = append(out, n)
		}
	}
	for _, n := range w.result.deleted {
		if _, still := running[n]; still {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// accounts asks Asterisk what it runs with.
func (w *work) accounts(ctx context.Context) (map[string]pbx.Account, error) {
	out, err := w.opts.Accounts(ctx)
	switch {
	case errors.Is(err, ami.ErrNotConnected):
		return nil, fmt.Errorf("freepbx: %w: %w", pbx.ErrDown, err)
	case err != nil:
		return nil, fmt.Errorf("freepbx: ask Asterisk for its accounts: %w", err)
	}
	return out, nil
}
