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

// follow has Asterisk run with what FreePBX has: after a change, and when an earlier
// reload was lost.
func (w *work) follow(ctx context.Context) error {
	if !w.result.changed() {
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
	enough := time.After(w.patience)
	tick := time.NewTicker(w.patience / 100)
	defer tick.Stop()
	for {
		if behind, err = w.behind(ctx); err != nil || len(behind) == 0 {
			return nil, err
		}
		select {
		case <-enough:
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
	endpoints, err := w.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range sorted(w.want) {
		if w.found[n].whole() && w.found[n].Device["tech"] == "pjsip" && !slices.Contains(endpoints, n) {
			out = append(out, n)
		}
	}
	for _, n := range w.result.deleted {
		if slices.Contains(endpoints, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// endpoints asks Asterisk what it runs with.
func (w *work) endpoints(ctx context.Context) ([]string, error) {
	out, err := w.opts.Endpoints(ctx)
	switch {
	case errors.Is(err, ami.ErrNotConnected):
		return nil, fmt.Errorf("freepbx: %w: %w", pbx.ErrDown, err)
	case err != nil:
		return nil, fmt.Errorf("freepbx: ask Asterisk for its endpoints: %w", err)
	}
	return out, nil
}
