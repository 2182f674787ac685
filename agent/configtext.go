package agent

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/history"
)

// followFile reads the operator's file where it really is: a link to it stays one when it
// is written.
func followFile(link string) (path string, data []byte, err error) {
	if path, err = filepath.EvalSymlinks(link); err != nil {
		return "", nil, err
	}
	data, err = config.ReadFile(path)
	return path, data, err
}

// getConfigFile returns the operator's file as it is, with its passwords.
func (a *Agent) getConfigFile(context.Context, control.None) (control.ConfigFile, error) {
	data, err := config.ReadFile(a.opts.Config)
	return control.ConfigFile{Path: a.opts.Config, Text: string(data), Hash: history.Hash(data)}, err
}

// checkConfig says what would change if a text were the file. It writes nothing.
func (a *Agent) checkConfig(ctx context.Context, t control.ConfigText) (control.Plan, error) {
	next, err := a.checked(ctx, a.opts.Config, []byte(t.Text))
	if err != nil {
		return control.Plan{}, err
	}
	return a.plan(ctx, next), nil
}

// saveConfig makes a text that is valid the operator's file, unless somebody has
// changed it in the meantime. It runs when it is applied.
func (a *Agent) saveConfig(ctx context.Context, t control.ConfigText) (control.Plan, error) {
	a.changes.Lock()
	defer a.changes.Unlock()
	path, old, err := followFile(a.opts.Config)
	if err != nil {
		return control.Plan{}, err
	}
	if history.Hash(old) != t.Before {
		return control.Plan{}, &control.Error{Code: http.StatusConflict, Message: path + " has changed since you read it: read it again, and make your change there"}
	}
	plan, err := a.checkConfig(ctx, t)
	if err != nil {
		return plan, err
	}
	if err := durable.WriteFileLike(path, path, []byte(t.Text)); err != nil {
		return plan, fmt.Errorf("nothing was changed: %w", err)
	}
	a.log.Info("configuration file written", "changes", len(plan.Config))
	return plan, nil
}
