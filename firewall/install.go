package firewall

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// install loads rules and members in one transaction. A table whose sets have
// another shape, made by another version, is recreated with the same members.
func install(ctx context.Context, cfg Config, add []member) error {
	old, err := obsolete(ctx, cfg)
	if errors.Is(err, errAbsent) {
		for _, s := range openSessions() {
			add = append(add, s.member())
		}
	} else if err != nil {
		return err
	}
	rules := Render(cfg)
	if err := load(ctx, script(rules, old, add)); err == nil {
		return nil
	}
	return load(ctx, "add table inet "+TableName+"\ndelete table inet "+TableName+"\n"+script(rules, inventory{}, add))
}

// Once puts a ruleset in force now, for when nobody stays to keep it.
func Once(ctx context.Context, cfg Config, opts Options) error {
	m, err := New(cfg, opts)
	if err != nil {
		return err
	}
	return m.enforce(ctx)
}

// Restore loads the ruleset that was in force last and was no trial, with the bans
// that go on: for the start of the machine. It reports whether there was one.
func Restore(ctx context.Context, stateDir string) (bool, error) {
	rules, err := os.ReadFile(filepath.Join(stateDir, rulesetFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m := &Manager{}
	now := time.Now()
	m.bans, err = loadBans(stateDir, now)
	if loadErr := load(ctx, script(string(rules), inventory{}, m.restore(now))); loadErr != nil {
		return false, loadErr
	}
	return true, err // damaged bans must not keep the rules away
}

// Remove takes our table away, and the ruleset for the next start.
func Remove(ctx context.Context, stateDir string) error {
	if stateDir != "" {
		if err := os.Remove(filepath.Join(stateDir, rulesetFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err := load(ctx, "add table inet "+TableName+"\ndelete table inet "+TableName+"\n")
	if errors.Is(err, errNoProgram) { // then there are no rules either
		return nil
	}
	return err
}
